"""What an evaluation measures: how often the policy succeeds, with the uncertainty of each share."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.agent.trajectory import Ending
from mobile_r1_jax.evaluation.summary import Summary

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


NONE = Share(0, 0)


@dataclass(frozen=True)
class Result:
    """The result of one evaluation. Episodes that a phone ended are counted separately and are in no share."""

    stage: str
    success: Share  # verified success, of episodes on held-out tasks whose outcome is known
    steps: Share  # of turns: those that made progress towards the goal
    format_errors: Share  # of turns: those whose response did not parse
    recovery: Share  # of episodes that left the right path: those that succeeded
    unseen_app: Share  # success on apps that training never saw
    infrastructure_failures: int
    secure_pages: int = 0
    claimed: Share = NONE  # of episodes: those that the policy ended as a success
    false_completion: Share = NONE  # of claims with a known outcome: those whose task was not done
    unknown: int = 0  # episodes of unknown outcome
    any_success: Share = NONE  # pass@K: of tasks that were played K times, those with a success
    repeats: int = 1  # K
    reasons: dict[str, int] = field(default_factory=dict)  # of both, by kind
    measured_on: dict[str, str] = field(default_factory=dict)  # hashes, see `provenance_of`


def measure(
    stage: str,
    episodes: Sequence[Summary],
    unseen_app: Sequence[Summary],
    provenance: dict[str, str] | None = None,
    *,
    repeats: int = 1,
) -> Result:
    """Return the result of the held-out episodes; the episodes on unseen apps only enter `unseen_app`.

    repeats: how often each held-out task was played. `episodes` holds all tasks once, then all of them again.
    """
    counted, counted_unseen_app = without_failures(episodes), without_failures(unseen_app)
    played = [*episodes, *unseen_app]
    endings = Counter(episode.ending for episode in played)
    reasons = Counter(episode.failure for episode in played if episode.failure)
    progress = [step for episode in counted for step in episode.progress]
    claims = [episode for episode in counted if episode.claimed and episode.outcome is not Outcome.UNKNOWN]
    return Result(
        stage,
        success=success_share(counted),
        steps=Share(sum(progress), len(progress)),
        format_errors=Share(sum(e.format_errors for e in counted), sum(e.turns for e in counted)),
        recovery=success_share([episode for episode in counted if episode.off_path]),
        unseen_app=success_share(counted_unseen_app),
        infrastructure_failures=endings[Ending.INFRASTRUCTURE_FAILURE],
        secure_pages=endings[Ending.SECURE_PAGE],
        claimed=Share(sum(episode.claimed for episode in counted), len(counted)),
        false_completion=Share(sum(episode.outcome is Outcome.NOT_DONE for episode in claims), len(claims)),
        unknown=sum(episode.outcome is Outcome.UNKNOWN for episode in [*counted, *counted_unseen_app]),
        any_success=any_success(episodes, repeats),
        repeats=repeats,
        reasons=dict(reasons.most_common()),
        measured_on=provenance or {},
    )


def without_failures(episodes: Sequence[Summary]) -> list[Summary]:
    """Return the episodes that no phone ended; see `Ending.depends_on_policy`."""
    return [episode for episode in episodes if episode.ending.depends_on_policy]


def success_share(episodes: Sequence[Summary]) -> Share:
    """Return the share of episodes that ended as a success, of those whose outcome is known."""
    known = [episode for episode in episodes if episode.outcome is not Outcome.UNKNOWN]
    return Share(sum(episode.ending is Ending.SUCCESS for episode in known), len(known))


def any_success(episodes: Sequence[Summary], repeats: int) -> Share:
    """Return pass@K: the share of tasks with a success in any of K = `repeats` episodes, of those with a known one."""
    if repeats == 1:
        return NONE
    tasks = len(episodes) // repeats
    shares = [success_share(without_failures(episodes[task::tasks])) for task in range(tasks)]
    known = [share for share in shares if share.of]
    return Share(sum(share.hits > 0 for share in known), len(known))
