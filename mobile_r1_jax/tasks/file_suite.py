"""A task file as a task suite."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

from mobile_r1_jax.agent.trajectory import Trajectory
from mobile_r1_jax.tasks.suite import DemonstrationStyle, Split
from mobile_r1_jax.tasks.task import Task
from mobile_r1_jax.tasks.task_file import read_task_file
from mobile_r1_jax.tasks.template import TaskTemplate


@dataclass(frozen=True)
class FileTasks:
    """The tasks of a file. Raises TaskFileError in one line if the file is wrong."""

    file: Path

    def __post_init__(self) -> None:
        _ = self.templates  # read the file now

    @cached_property
    def templates(self) -> tuple[TaskTemplate, ...]:
        """The tasks of the file, in its order."""
        return read_task_file(self.file)

    def draw(self, count: int, seed: int, split: Split) -> list[Task]:
        """See TaskSuite. Takes one task of each template in turn."""
        rng = Random(f"tasks/{seed}/{split}")
        pool = [(template, drawn) for template in self.templates if (drawn := template.drawn(split))]
        tasks: list[Task] = []
        while pool and len(tasks) < count:
            rng.shuffle(pool)
            tasks += [template.task(rng.choice(template.instructions), rng.choice(drawn)) for template, drawn in pool]
        return tasks[:count]

    def instructions(self, split: Split) -> frozenset[str]:
        """See TaskSuite."""
        return frozenset(text for template in self.templates for text in template.texts(split))

    def demonstrations(
        self, count: int, seed: int, style: DemonstrationStyle, split: Split = Split.TRAIN
    ) -> Iterator[Trajectory]:
        """See TaskSuite. A file has no expert."""
        raise NotImplementedError(f"{self.file} has no demonstrations; name annotated trajectories")

    def one_of_each(self) -> list[Task]:
        """Return one task of each template, in the order of the file, with the first wording and the first values."""
        return [template.task(template.instructions[0], template.combinations[0]) for template in self.templates]
