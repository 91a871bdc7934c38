"""Grades of whole trajectories: the result of every judge, and the task-level reward."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.responses import Response
from mobile_r1_jax.agent.trajectory import Trajectory
from mobile_r1_jax.rewards.format import turn_format_reward

HIGHEST_GRADE = 4


@dataclass(frozen=True)
class Score:
    """A grade from 0 to 4 [paper].

    4: complete, no redundant step. 3: complete or nearly, but inefficient. 2: partly done, or ends in a loop.
    1: a few useful actions, then drift. 0: failed.
    """

    grade: int
    reason: str = ""

    def __post_init__(self) -> None:
        if self.grade not in range(HIGHEST_GRADE + 1):
            raise ValueError(f"a judge's grade is {self.grade!r}; it must be a whole number from 0 to {HIGHEST_GRADE}")

    @property
    def value(self) -> float:
        """Return the trajectory score, in [0, 1]."""
        return self.grade / HIGHEST_GRADE


@dataclass(frozen=True)
class JudgeOutage:
    """The judge failed. The trajectory is left out of its group, as a score of 0 would count as its failure [ours]."""

    reason: str


class Judge(Protocol):
    """Grades a finished trajectory. It may block for seconds, so call it in a thread."""

    def score(self, trajectory: Trajectory) -> Score | JudgeOutage: ...


def task_reward(score: Score, answers: Sequence[Response | Malformed]) -> float:
    """Return the task-level reward, in [-1, 2]: score + mean format reward of the turns [paper; the plain sum: ours].

    answers: the parsed turns of the trajectory; without any, the reward is the score.
    """
    if not answers:
        return score.value
    return score.value + sum(map(turn_format_reward, answers)) / len(answers)
