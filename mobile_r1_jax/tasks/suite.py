"""A source of tasks with splits. The simulator's templates are one; a user's task file can be another."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.agent.trajectory import Trajectory
from mobile_r1_jax.tasks.task import Task


class Split(StrEnum):
    """What training has seen of a task: all, all but its parameters, or nothing of its app."""

    TRAIN = "train"
    UNSEEN_PARAMETERS = "unseen_parameters"
    UNSEEN_APPS = "unseen_apps"


@dataclass(frozen=True)
class DemonstrationStyle:
    """How demonstrations are written down.

    system: template of the system message, over {instruction}. resizing: makes the model images whose pixels the
    coordinates are in. mistakes: share with a wrong step that is noticed and undone. popups: mean number in a task.
    """

    system: str
    resizing: Resizing
    mistakes: float
    popups: float


class TaskSuite(Protocol):
    """Tasks to draw from. The same arguments give the same tasks on every machine."""

    def draw(self, count: int, seed: int, split: Split) -> list[Task]:
        """Return `count` tasks of a split, or none where the suite has no such tasks."""
        ...

    def instructions(self, split: Split) -> frozenset[str]:
        """Return every instruction that `draw` can give for a split."""
        ...

    def demonstrations(self, count: int, seed: int, style: DemonstrationStyle) -> Iterator[Trajectory]:
        """Yield training tasks as an expert does them. Raises NotImplementedError where a suite has no expert."""
        ...
