"""A suite of one task: the instruction of a person, with no setup and no checks."""

from collections.abc import Iterator
from dataclasses import dataclass

from mobile_r1_jax.agent.trajectory import Trajectory
from mobile_r1_jax.tasks.suite import DemonstrationStyle, Split
from mobile_r1_jax.tasks.task import Task


@dataclass(frozen=True)
class OneInstruction:
    """One task, in the split `train`."""

    task: Task

    def draw(self, count: int, seed: int, split: Split) -> list[Task]:
        """See TaskSuite."""
        return [self.task] * count if split is Split.TRAIN else []

    def instructions(self, split: Split) -> frozenset[str]:
        """See TaskSuite."""
        return frozenset({self.task.instruction} if split is Split.TRAIN else ())

    def demonstrations(
        self, count: int, seed: int, style: DemonstrationStyle, split: Split = Split.TRAIN
    ) -> Iterator[Trajectory]:
        """See TaskSuite. An instruction has no demonstrations."""
        raise NotImplementedError("an instruction has no demonstrations")
