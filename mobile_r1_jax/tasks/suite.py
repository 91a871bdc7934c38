"""Task suites: sources of tasks with splits, such as the simulator's templates or a user's task file."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.agent.trajectory import Trajectory
from mobile_r1_jax.tasks.task import Task


class Split(StrEnum):
    """A part of a suite: training tasks, the same kinds with unseen parameters, other kinds, or unseen apps."""

    TRAIN = "train"
    UNSEEN_PARAMETERS = "unseen_parameters"
    UNSEEN_TEMPLATES = "unseen_templates"
    UNSEEN_APPS = "unseen_apps"


@dataclass(frozen=True)
class DemonstrationStyle:
    """The format and content of demonstrations.

    system: template of the system message, with {instruction}. resizing: makes the model images; coordinates are in
    their pixels, or without it in those of the screenshots. mistakes: share of trajectories with a wrong step that is
    then undone. popups: mean number per task.
    """

    system: str
    resizing: Resizing | None
    mistakes: float
    popups: float


class TaskSuite(Protocol):
    """A source of tasks. The same arguments give the same tasks on every machine."""

    def draw(self, count: int, seed: int, split: Split) -> list[Task]:
        """Return `count` tasks of a split, or none if the suite has no such tasks."""
        ...

    def instructions(self, split: Split) -> frozenset[str]:
        """Return every instruction that `draw` can give for a split."""
        ...

    def demonstrations(
        self, count: int, seed: int, style: DemonstrationStyle, split: Split = Split.TRAIN
    ) -> Iterator[Trajectory]:
        """Yield an expert's trajectories of tasks of a split, or none if the suite has no such tasks.

        Raises NotImplementedError if the suite has no expert."""
        ...
