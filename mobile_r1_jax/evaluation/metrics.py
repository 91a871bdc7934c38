"""What an evaluation measures: how often the policy succeeds, with the uncertainty of each share."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.trajectory import Ending
from mobile_r1_jax.rollouts.episodes import Episode

Z_95 = 1.959964  # the normal quantile of a two-sided 95 % interval


@dataclass(frozen=True)
class Share:
    """`hits` out of `of`, with its Wilson score interval at 95 %."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        return self.hits / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Return (low, high), by E. B. Wilson, 1927."""
        if not self.of:
            return (0.0, 1.0)
        n, p, z = self.of, self.value, Z_95
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        # Exactly 0 and 1 at the ends: rounding could exclude the share itself from its interval.
        return (middle - half if self.hits else 0.0, middle + half if self.hits < n else 1.0)

    def __str__(self) -> str:
        if not self.of:
            return "-"
        low, high = self.interval
        return f"{100 * self.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


@dataclass(frozen=True)
class Result:
    """The result of one evaluation. Episodes that a phone ended are counted separately and are in no share."""

    stage: str
    success: Share  # of episodes on held-out tasks
    steps: Share  # of turns: those that made progress towards the goal
    format_errors: Share  # of turns: those whose response did not parse
    recovery: Share  # of episodes that left the right path: those that succeeded
    unseen_app: Share  # success on apps that training never saw
    infrastructure_failures: int
    secure_pages: int = 0
    reasons: dict[str, int] = field(default_factory=dict)  # of both, by kind
    measured_on: dict[str, str] = field(default_factory=dict)  # hashes, see `provenance_of`


def measure(
    stage: str, episodes: Sequence[Episode], unseen_app: Sequence[Episode], provenance: dict[str, str] | None = None
) -> Result:
    """Return the result of the held-out episodes; the episodes on unseen apps only enter `unseen_app`."""
    counted, counted_unseen_app = without_failures(episodes), without_failures(unseen_app)
    played = [*episodes, *unseen_app]
    endings = Counter(episode.trajectory.ending for episode in played)
    reasons = Counter(episode.failure.kind for episode in played if episode.failure)
    progress = [step for episode in counted for step in episode.made_progress]
    answers = [answer for episode in counted for answer in episode.answers]
    off_path = [episode for episode in counted if episode.off_path]
    return Result(
        stage,
        success=success_share(counted),
        steps=Share(sum(progress), len(progress)),
        format_errors=Share(sum(isinstance(answer, Malformed) for answer in answers), len(answers)),
        recovery=success_share(off_path),
        unseen_app=success_share(counted_unseen_app),
        infrastructure_failures=endings[Ending.INFRASTRUCTURE_FAILURE],
        secure_pages=endings[Ending.SECURE_PAGE],
        reasons=dict(reasons.most_common()),
        measured_on=provenance or {},
    )


def without_failures(episodes: Sequence[Episode]) -> list[Episode]:
    """Return the episodes that no phone ended; see `Ending.tells_of_policy`."""
    return [episode for episode in episodes if episode.trajectory.ending.tells_of_policy]


def success_share(episodes: Sequence[Episode]) -> Share:
    """Return the share of episodes that ended as a success."""
    return Share(sum(episode.trajectory.ending is Ending.SUCCESS for episode in episodes), len(episodes))
