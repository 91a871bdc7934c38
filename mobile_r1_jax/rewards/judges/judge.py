"""The input and output of every judge, and the task-level reward."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mobile_r1_jax.agent.actions import Malformed, Terminate
from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.agent.responses import Response
from mobile_r1_jax.agent.trajectory import Trajectory
from mobile_r1_jax.rewards.format import turn_format_reward

HIGHEST_GRADE = 4
COMPLETE = 3  # the lowest grade of a complete task with a claim


class JudgeError(OneLineError):
    """The judge cannot grade at all, in one line: a wrong key, model or address, or a spent budget."""


@dataclass(frozen=True)
class Usage:
    """The usage of grades: requests, tokens, cost in the currency of the prices, and seconds in requests."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*(mine + its for mine, its in zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True)
class Evidence:
    """The evidence about a finished episode.

    trajectory: with the phone's progress, if the phone reports it, and the outcome by a verifier.
    answers: the parsed turns of the trajectory. steps: an estimate of the turns that the task takes.
    """

    trajectory: Trajectory
    answers: tuple[Response | Malformed, ...] = ()
    steps: int | None = None

    @property
    def outcome(self) -> Outcome:
        """Return whether the task is done, by a verifier."""
        return self.trajectory.outcome

    @property
    def claims_success(self) -> bool:
        """Return whether the agent ended the task as a success. It may be wrong."""
        last = self.answers[-1] if self.answers else None
        return isinstance(last, Response) and last.action == Terminate("success")


@dataclass(frozen=True)
class Score:
    """A grade from 0 to 4 [paper].

    4: complete, no redundant step. 3: complete or nearly, but inefficient. 2: partly done, or ends in a loop.
    1: a few useful actions, then drift. 0: failed.

    opinion: the grade that a chat judge gave, before known outcomes bounded it; None without a chat judge.
    """

    grade: int
    reason: str = ""
    opinion: int | None = field(default=None, compare=False)
    usage: Usage = field(default=Usage(), compare=False)

    def __post_init__(self) -> None:
        if self.grade not in range(HIGHEST_GRADE + 1):
            raise ValueError(f"a judge's grade is {self.grade!r}; it must be a whole number from 0 to {HIGHEST_GRADE}")

    @property
    def value(self) -> float:
        """Return the trajectory score, in [0, 1]."""
        return self.grade / HIGHEST_GRADE


@dataclass(frozen=True)
class JudgeOutage:
    """The judge failed. The trajectory is left out of its group, as a score of 0 would count as its failure [ours].

    lasting: asking again later does not help.
    """

    reason: str
    lasting: bool = False
    usage: Usage = field(default=Usage(), compare=False)


class Judge(Protocol):
    """Grades a finished episode. Many calls run at once in one event loop, so a slow judge must await."""

    async def grade(self, evidence: Evidence) -> Score | JudgeOutage:
        """Return the grade. Raises JudgeError if no episode can be graded any more."""
        ...


def task_reward(score: Score, answers: Sequence[Response | Malformed]) -> float:
    """Return the task-level reward, in [-1, 2]: score + mean format reward of the turns [paper; the plain sum: ours].

    answers: the parsed turns of the trajectory; without any, the reward is the score.
    """
    if not answers:
        return score.value
    return score.value + sum(map(turn_format_reward, answers)) / len(answers)
