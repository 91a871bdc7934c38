"""The summary of an episode that an evaluation stores: one line of a file, sufficient for all metrics."""

from dataclasses import asdict, dataclass
from typing import Any

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.agent.trajectory import Ending
from mobile_r1_jax.rollouts.episodes import Episode


@dataclass(frozen=True)
class Summary:
    """An episode in numbers.

    claimed: the policy ended it as a success. progress: for each turn whether it made progress; empty if the phone does
    not report it. failure: the kind of failure, if the phone ended the episode.
    """

    ending: Ending
    outcome: Outcome
    claimed: bool
    turns: int
    format_errors: int
    progress: tuple[bool, ...]
    off_path: bool
    failure: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def summarize(episode: Episode) -> Summary:
    """Return the summary of an episode."""
    return Summary(
        episode.trajectory.ending,
        episode.outcome,
        episode.claimed,
        len(episode.answers),
        sum(isinstance(answer, Malformed) for answer in episode.answers),
        episode.made_progress,
        episode.off_path,
        episode.failure.kind if episode.failure else "",
    )


def summary_from_json(row: dict[str, Any]) -> Summary:
    """Return the summary of a row by `as_json`."""
    values = {name: row[name] for name in Summary.__dataclass_fields__}
    values |= {"ending": Ending(row["ending"]), "outcome": Outcome(row["outcome"]), "progress": tuple(row["progress"])}
    return Summary(**values)
