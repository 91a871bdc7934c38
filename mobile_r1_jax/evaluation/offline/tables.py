"""The tables of an offline evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mobile_r1_jax.agent.whole_files import write_whole
from mobile_r1_jax.evaluation.offline.rules import RULES
from mobile_r1_jax.evaluation.offline.scores import Score, Scores

# As many as fit 80 characters; the JSON result has the others.
COLUMNS = ("Steps", "Step accuracy %", "Task success %", "Argument errors", "Format errors")
_MOST_GROUPS, _MOST_DISPUTED, _MOST_REASONS = 20, 20, 3  # rows on the screen; the JSON result holds all


def score_cells(score: Score) -> tuple[str, ...]:
    """Return the cells of a score in the order of COLUMNS: shares in per cent with their 95 % Wilson intervals."""
    shares = (str(share).replace(" [", "\n[") for share in (score.accuracy, score.success))
    return str(score.accuracy.of), *shares, str(score.argument_errors), str(score.format_errors)


def offline_table(scores: Scores, title: str = "Annotated steps") -> Table:
    """Return the table of all steps, with a row for each rule set."""
    table = _table(f"{title}, with 95 % Wilson intervals", "Rules")
    for rule in scores.rules:
        table.add_row(RULES[rule].title, *score_cells(scores.of(rule)))
    return table


def groups_table(scores: Scores, rule: str) -> Table:
    """Return the scores of groups of steps under one rule set: by action, app and subset; of seen and unseen apps."""
    table = _table(f"By action and app, under the rules of {RULES[rule].title}", "Group")
    for kind, members in scores.groups(rule).items():
        for name, score in list(members.items())[:_MOST_GROUPS]:
            table.add_row(Text(f"{name} apps" if kind == "apps" else f"{kind} {name}"), *score_cells(score))
        if len(members) > _MOST_GROUPS:
            table.add_row(f"{len(members) - _MOST_GROUPS} more", *[""] * len(COLUMNS))
        table.add_section()
    return table


def disputed_table(scores: Scores) -> Table:
    """Return the first steps on which the rule sets disagree; 2: right, 1: the type alone, 0: wrong, -: not scored."""
    disputed = scores.disputed
    shown = f", the first {_MOST_DISPUTED}" if len(disputed) > _MOST_DISPUTED else ""
    table = Table(title=f"The rule sets disagree on {len(disputed)} of {len(scores.steps)} steps{shown}")
    for column in ("Trajectory", "Step", "Golden", "Answer", *(_short(rule) for rule in scores.rules)):
        table.add_column(column)
    for step in disputed[:_MOST_DISPUTED]:
        answer = step.predicted or step.malformed
        table.add_row(Text(step.trajectory), str(step.step), Text(step.golden), Text(answer), *step.cells)
    return table


def policies_table(policies: Mapping[str, Scores], title: str) -> Table:
    """Return a table of policies on the same data: the step accuracy under each rule set."""
    table = Table(title=f"{title}: step accuracy %, with 95 % Wilson intervals")
    table.add_column("Rules", no_wrap=True)
    for name in policies:
        table.add_column(Text(name))
    for rule in next(iter(policies.values())).rules:
        table.add_row(RULES[rule].title, *(str(scores.of(rule).accuracy) for scores in policies.values()))
    return table


def print_scores(scores: Scores, console: Console, title: str, result: Path) -> None:
    """Print the tables of an evaluation and what was left out, and write the JSON result."""
    write_whole(result, json.dumps(scores.as_json(), ensure_ascii=False, indent=1) + "\n")
    console.print(offline_table(scores, title))
    console.print(groups_table(scores, scores.rules[0]))
    if scores.disputed:
        console.print(disputed_table(scores))
    for line in remarks(scores):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"All of it, with every step on which they disagree: {result}", markup=False, soft_wrap=True)


def remarks(scores: Scores) -> Iterator[str]:
    """Yield a line on everything that the tables leave out."""
    if len({scores.of(rule).accuracy.of for rule in scores.rules}) > 1:
        yield "a rule set scores the steps whose golden action occurs in its own data"
    if scores.incomplete:
        yield f"{scores.incomplete} trajectories lack some of their steps; they are in no task success"
    for reason, count in scores.format_errors[:_MOST_REASONS]:
        yield f"format errors: {count} times: {reason}"
    if scores.broken:
        yield f"{len(scores.broken)} lines left out; the first: {scores.broken[0]}"


def _table(title: str, first: str) -> Table:
    table = Table(title=title)
    table.add_column(first, no_wrap=True)
    for column in COLUMNS:
        table.add_column(column)
    return table


def _short(rule: str) -> str:
    return RULES[rule].title.split()[0] if rule != "agentcpm_ac" else "AgentCPM AC"
