"""The agreement of a chat judge with known outcomes: the phone's state, or the task's checks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mobile_r1_jax.evaluation.metrics import Share
from mobile_r1_jax.rewards.judges.judge import COMPLETE, JudgeOutage, Score, Usage

Grade = Score | JudgeOutage | None  # None: not graded, because the phone failed


@dataclass(frozen=True)
class Agreement:
    """Shares of judged episodes whose grade is known.

    false_complete: of incomplete tasks, those that the judge grades as complete. false_reject: of complete and claimed
    tasks, those that it does not grade as complete. Complete tasks without a claim are in neither. within_one: grades
    that differ by at most one.
    """

    false_complete: Share
    false_reject: Share
    within_one: Share

    def as_metrics(self) -> dict[str, float]:
        """Return the shares that have an episode, by name."""
        return {f"judge_{name}": share.value for name, share in vars(self).items() if share.of}


def measure_agreement(grades: Sequence[Grade], known: Sequence[Score | None]) -> Agreement:
    """Compare the opinions in `grades` with the known grades, where both exist."""
    pairs = [
        (grade.opinion, truth.grade)
        for grade, truth in zip(grades, known, strict=True)
        if isinstance(grade, Score) and grade.opinion is not None and truth is not None
    ]
    failed = [opinion >= COMPLETE for opinion, truth in pairs if truth < 2]
    complete = [opinion < COMPLETE for opinion, truth in pairs if truth >= COMPLETE]
    close = [abs(opinion - truth) <= 1 for opinion, truth in pairs]
    return Agreement(*(Share(sum(hits), len(hits)) for hits in (failed, complete, close)))


def usage_metrics(grades: Sequence[Grade], more: Usage = Usage()) -> dict[str, float]:  # noqa: B008
    """Return the usage of an update's grades, `more` included: requests, tokens and cost in all, and mean seconds."""
    usage = sum((grade.usage for grade in grades if grade is not None), more)
    if not usage.requests:
        return {}
    return {
        "judge_requests": float(usage.requests),
        "judge_tokens": float(usage.prompt_tokens + usage.completion_tokens),
        "judge_cost": usage.cost,
        "judge_seconds": usage.seconds / usage.requests,
    }


def mean_interval(values: Sequence[float], *, samples: int = 2000) -> tuple[float, float, float]:
    """Return (mean, low, high) with the 95 % percentile bootstrap interval, by B. Efron, 1979. NaN without a value."""
    if not values:
        return (float("nan"),) * 3
    array = np.asarray(values, np.float64)
    drawn = np.random.default_rng(0).integers(len(array), size=(samples, len(array)))
    low, high = np.quantile(array[drawn].mean(axis=1), (0.025, 0.975))
    return float(array.mean()), float(low), float(high)
