"""Evaluation on live phones: how often the policy does what it is asked to do, and the table of it."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.json_lines import append_line, read_objects
from mobile_r1_jax.agent.trajectory import Ending
from mobile_r1_jax.config import Run
from mobile_r1_jax.rollouts.episodes import Episode
from mobile_r1_jax.tasks.task import Task

RESULTS = "results.jsonl"  # in a run directory
SHARES = ("success", "steps", "format_errors", "recovery", "unseen_app")
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
        """(low, high), by E. B. Wilson, 1927."""
        if not self.of:
            return (0.0, 1.0)
        n, p, z = self.of, self.value, Z_95
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        # Exactly 0 and 1 at the ends, where rounding would leave an interval that does not hold its own share.
        return (middle - half if self.hits else 0.0, middle + half if self.hits < n else 1.0)

    def __str__(self) -> str:
        if not self.of:
            return "-"
        low, high = self.interval
        return f"{100 * self.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


@dataclass(frozen=True)
class Result:
    """What one evaluation found; infrastructure failures are counted apart and enter no share."""

    stage: str
    success: Share  # of episodes on held-out tasks
    steps: Share  # of turns: those that brought the phone nearer to the goal
    format_errors: Share  # of turns: those whose response did not parse
    recovery: Share  # of episodes that left the right path: those that succeeded
    unseen_app: Share  # success on apps that training never saw
    infrastructure_failures: int
    measured_on: dict[str, str] = field(default_factory=dict)  # hashes, see `measured_on`


def measured_on(run: Run, tasks: Sequence[Sequence[Task]], *, weights: str) -> dict[str, str]:
    """Return hashes of all that an evaluation's result depends on: the policy's weights, the tasks, the settings."""
    settings = {"size": run.phones.simulated.size, "most_turns": run.phones.most_turns, "system": run.system}
    settings |= {"resizing": asdict(run.resizing), "response_tokens": run.shapes.response_tokens, "seed": run.seed}
    settings |= {"temperature": run.evaluation.temperature, "top_p": run.top_p, "top_k": run.top_k}
    settings |= {"compute": run.precision.compute}
    drawn = [[task.id for task in some] for some in tasks]
    return {"weights": weights, "tasks": _hash(drawn), "settings": _hash(settings)}


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def measure(
    stage: str, episodes: Sequence[Episode], unseen_app: Sequence[Episode], provenance: dict[str, str] | None = None
) -> Result:
    """Measures held-out episodes, and those on unseen apps, which only the last share is about."""
    counted = [episode for episode in episodes if episode.trajectory.ending is not Ending.INFRASTRUCTURE_FAILURE]
    elsewhere = [episode for episode in unseen_app if episode.trajectory.ending is not Ending.INFRASTRUCTURE_FAILURE]
    nearer = [step for episode in counted for step in episode.nearer]
    answers = [answer for episode in counted for answer in episode.answers]
    astray = [episode for episode in counted if episode.off_path]
    return Result(
        stage,
        success=successes(counted),
        steps=Share(sum(nearer), len(nearer)),
        format_errors=Share(sum(isinstance(answer, Malformed) for answer in answers), len(answers)),
        recovery=successes(astray),
        unseen_app=successes(elsewhere),
        infrastructure_failures=len(episodes) + len(unseen_app) - len(counted) - len(elsewhere),
        measured_on=provenance or {},
    )


def successes(episodes: Sequence[Episode]) -> Share:
    return Share(sum(episode.trajectory.ending is Ending.SUCCESS for episode in episodes), len(episodes))


COLUMNS = ("Stage", "Task success %", "Step accuracy %", "Format errors %", "Recovery %", "Unseen app %")


def table_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """The table's cells: each share in per cent with its 95 % Wilson interval."""
    return [
        (
            result.stage,
            *map(str, (result.success, result.steps, result.format_errors, result.recovery, result.unseen_app)),
        )
        for result in results
    ]


def results_table(results: Sequence[Result]) -> Table:
    """Return the table that a run ends with."""
    table = Table(title="Held-out tasks, with 95 % Wilson intervals")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, no_wrap=number == 0)  # in a narrow terminal a share's interval goes below it
    for row in table_rows(results):
        table.add_row(*row)
    return table


def write_result(directory: Path, result: Result) -> None:
    """Appends a result to results.jsonl in the run directory."""
    append_line(directory / RESULTS, json.dumps(asdict(result)))


def read_results(directory: Path) -> list[Result]:
    """Return the newest result of each stage, in the order in which they were first measured."""
    results = (
        Result(**{name: Share(**value) if name in SHARES else value for name, value in row.items()})
        for row in read_objects(directory / RESULTS)
    )
    return list({result.stage: result for result in results}.values())


def find_result(directory: Path, stage: str, provenance: dict[str, str]) -> Result | None:
    """Return the stage's newest result if it was measured on exactly that; `provenance`: see `measured_on`."""
    newest = next((result for result in read_results(directory) if result.stage == stage), None)
    return newest if newest and newest.measured_on == provenance else None
