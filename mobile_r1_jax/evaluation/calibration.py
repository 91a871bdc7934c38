"""Calibration of a judge: its grades of episodes with known outcomes, and its largest errors."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table

from mobile_r1_jax.agent.responses import parse_response
from mobile_r1_jax.agent.trajectory import Trajectory
from mobile_r1_jax.evaluation.agreement import Agreement, Grade, mean_interval, measure_agreement
from mobile_r1_jax.evaluation.metrics import Share
from mobile_r1_jax.rewards.judges.choice import known_score
from mobile_r1_jax.rewards.judges.gathering import gather_or_cancel
from mobile_r1_jax.rewards.judges.judge import Evidence, Judge, JudgeOutage, Score, Usage

SHOWN = 20  # disagreements
ALL = "all"


@dataclass(frozen=True)
class Judged:
    """An episode of some kind, its known grade, and the judge's grade."""

    kind: str
    trajectory: Trajectory
    known: Score
    grade: Score | JudgeOutage

    @property
    def difference(self) -> int:
        """Return by how many grades the judge is wrong; 0 for an outage."""
        return abs(self.grade.grade - self.known.grade) if isinstance(self.grade, Score) else 0


async def judge_known(
    judge: Judge, episodes: Iterable[tuple[str, Trajectory]], on_graded: Callable[[], None] = lambda: None
) -> list[Judged]:
    """Grade the episodes (kind, trajectory) whose outcome is known, by state or checks; leave out the others.

    on_graded: called after each grade. Raises JudgeError as the judge does.
    """

    async def grade(kind: str, evidence: Evidence, known: Score) -> Judged:
        graded = await judge.grade(evidence)
        on_graded()
        return Judged(kind, evidence.trajectory, known, graded)

    found = ((kind, evidence_of(trajectory)) for kind, trajectory in episodes)
    known = ((kind, evidence, known_score(evidence)) for kind, evidence in found)
    return await gather_or_cancel(grade(kind, one, score) for kind, one, score in known if score is not None)


def evidence_of(trajectory: Trajectory) -> Evidence:
    """Return the evidence of a stored episode."""
    return Evidence(trajectory, tuple(parse_response(turn.response, turn.frame) for turn in trajectory.turns))


def worst_disagreements(judged: Sequence[Judged], most: int = SHOWN) -> list[Judged]:
    """Return the episodes whose grades differ most, the largest difference first, without those that agree."""
    return sorted((one for one in judged if one.difference), key=lambda one: -one.difference)[:most]


def agreement_table(judged: Sequence[Judged]) -> Table:
    """Return the shares of each kind of episode and of all, in per cent with their 95 % Wilson intervals."""
    table = Table(title="Judge against known outcomes, with 95 % Wilson intervals")
    for number, column in enumerate(
        ("Episodes", "Count", "False complete %", "False reject %", "Within one grade %", "Without a grade %")
    ):
        table.add_column(column, no_wrap=number == 0)
    for kind in (*sorted({one.kind for one in judged}), ALL):
        some = [one for one in judged if kind in (one.kind, ALL)]
        lost = Share(sum(isinstance(one.grade, JudgeOutage) for one in some), len(some))
        shares = agreement_of(some)
        cells = (shares.false_complete, shares.false_reject, shares.within_one, lost)
        table.add_row(kind, str(len(some)), *map(str, cells))
    return table


def agreement_of(judged: Sequence[Judged]) -> Agreement:
    """Return the agreement of the judge with known grades."""
    grades: list[Grade] = [one.grade for one in judged]
    return measure_agreement(grades, [one.known for one in judged])


def spending_lines(judged: Sequence[Judged]) -> list[str]:
    """Return the mean usage of a trajectory with 95 % bootstrap intervals. Grades from the cache cost nothing."""
    usages: list[Usage] = [one.grade.usage for one in judged if one.grade.usage.requests]
    kept = len(judged) - len(usages)
    rows = {
        "cost": ([usage.cost for usage in usages], "{:.5f}"),
        "seconds": ([usage.seconds for usage in usages], "{:.2f}"),
        "tokens": ([float(usage.prompt_tokens + usage.completion_tokens) for usage in usages], "{:.0f}"),
    }
    lines = [f"{kept} of {len(judged)} grades were kept from before and took nothing"] if kept else []
    for name, (values, form) in rows.items() if usages else ():
        mean, low, high = (form.format(value) for value in mean_interval(values))
        lines.append(f"{name} a trajectory: {mean} [{low}, {high}]")
    return lines
