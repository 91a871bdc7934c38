"""The written and left-out episodes of a conversion, counted from its files."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from data_pipelines.leaks import Leak
from data_pipelines.sources.drafts import APPENDED
from mobile_r1_jax.agent.data_files import DATA, read_lines
from mobile_r1_jax.agent.json_lines import read_objects

LEFT_OUT = "left_out.jsonl"
_NAMED = 8  # apps, sizes and reasons that are named; the others are only counted


@dataclass
class Counts:
    """The counts of one split."""

    trajectories: int = 0
    steps: int = 0
    boxes: int = 0  # steps with the box of the touched element
    without_thought: int = 0  # steps
    appended: int = 0  # terminates that the conversion added
    apps: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Reason:
    """Why episodes were left out: the reason of the first one, with its origin, and the number of them."""

    reason: str
    origin: str
    count: int


@dataclass(frozen=True)
class Summary:
    """The counts of each split, the reasons why episodes were left out, most frequent first, and the leaks."""

    splits: Mapping[str, Counts]
    reasons: tuple[Reason, ...]
    leaks: tuple[Leak, ...] = ()


def count_split(directory: Path) -> Counts:
    """Return the counts of a directory that `convert` wrote."""
    counts = Counts()
    for _, line in read_lines(directory):
        record = json.loads(line)
        counts.trajectories += 1
        counts.apps.update(app or "unknown" for app in record["app_name"].split(", "))
        for step in record["trajectory"]:
            _count_step(counts, record, step)
    return counts


def count_reasons(file: Path) -> tuple[Reason, ...]:
    """Return the reasons in a file of left-out episodes; two that differ only in numbers or quoted words are one."""
    found: dict[str, Reason] = {}
    for row in read_objects(file):
        kind = re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "*", row["reason"])
        first = found.get(kind, Reason(row["reason"], row["origin"], 0))
        found[kind] = Reason(first.reason, first.origin, first.count + 1)
    return tuple(sorted(found.values(), key=lambda reason: -reason.count))


def summary_rows(counts: Counts) -> dict[str, str]:
    """Return the rows of the table of one split."""
    return {
        "trajectories": f"{counts.trajectories:,}",
        "steps": f"{counts.steps:,}",
        "steps with a box": f"{counts.boxes:,}",
        "steps without a thought (no loss on it)": f"{counts.without_thought:,}",
        "terminate added": f"{counts.appended:,}",
        "actions": most_common(counts.actions, len(counts.actions)),
        "apps": f"{len(counts.apps):,}: {most_common(counts.apps)}",
        "screen sizes": most_common(counts.sizes),
    }


def most_common(counter: Counter[str], most: int = _NAMED) -> str:
    """Return the most frequent keys with their counts in words, and how many more there are."""
    named = [f"{name} {count:,}" for name, count in counter.most_common(most)]
    return ", ".join(named + [f"{len(counter) - most:,} more"] * (len(counter) > most))


def summary_tables(summary: Summary) -> list[Table]:
    """Return the last output of `convert`: tables of written and of left-out episodes."""
    written = Table(title="Written", show_lines=True)
    written.add_column("")
    columns = {name: summary_rows(counts) for name, counts in summary.splits.items()}
    for name in columns:
        written.add_column(name)
    for row in summary_rows(Counts()):
        written.add_row(row, *(cells[row] for cells in columns.values()))
    left_out = Table(title=f"Left out: {sum(reason.count for reason in summary.reasons):,} episodes")
    for column in ("Episodes", "Why", "The first"):
        left_out.add_column(column, overflow="fold")  # the whole name of the file
    for reason in summary.reasons[:_NAMED]:
        left_out.add_row(f"{reason.count:,}", reason.reason, reason.origin)
    if more := summary.reasons[_NAMED:]:
        left_out.add_row(f"{sum(reason.count for reason in more):,}", f"{len(more)} other reasons", f"see {LEFT_OUT}")
    return [written, left_out] if summary.reasons else [written]


def leak_lines(leaks: tuple[Leak, ...]) -> list[str]:
    """Return a line on the leaked instructions and one on the leaked screenshots, if there are any."""
    lines = []
    for kind in ("instruction", "screenshot"):
        if found := [leak for leak in leaks if leak.kind == kind]:
            first, (one, other) = found[0].what, found[0].places
            lines.append(f"leak: {len(found):,} {kind}(s) in two splits; the first: {first!r}, {one} and {other}")
    return lines


def split_folders(out: Path) -> dict[str, Path]:
    """Return the directories of the splits below an output folder, train first."""
    found = {file.parent.name: file.parent for file in sorted(out.glob(f"*/{DATA}"))}
    return dict(sorted(found.items(), key=lambda item: item[0] != "train"))


def _count_step(counts: Counts, record: Mapping[str, Any], step: Mapping[str, Any]) -> None:
    action = json.loads(step["action"])["arguments"]["action"]
    width, height = step.get("size", (record["image_width"], record["image_height"]))
    counts.steps += 1
    counts.boxes += "bbox" in step
    counts.without_thought += not step["thought"]
    counts.appended += step["subtask"] == APPENDED and action == "terminate"
    counts.actions[action] += 1
    counts.sizes[f"{width}x{height}"] += 1
