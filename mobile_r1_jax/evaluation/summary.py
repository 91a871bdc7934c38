"""What an evaluation keeps of an episode: enough to measure it, and small enough for a line of a file."""

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
    not know. failure: the kind of failure, if the phone ended the episode.
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
    """Return the summary of a row that `as_json` gave."""
    values = {name: row[name] for name in Summary.__dataclass_fields__}
    values |= {"ending": Ending(row["ending"]), "outcome": Outcome(row["outcome"]), "progress": tuple(row["progress"])}
    return Summary(**values)
