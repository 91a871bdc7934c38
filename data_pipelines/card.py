"""The README.md of a converted data set: a card that Hugging Face shows, and from which `datasets` finds the splits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from data_pipelines.sources.drafts import Source
from data_pipelines.summary import LEFT_OUT, Summary, leak_lines, summary_rows
from mobile_r1_jax.agent.data_files import DATA
from mobile_r1_jax.agent.whole_files import write_whole

_BODY = """
# {title}, converted for Mobile-R1

Converted from [{title}]({url}). Licence of the source: `{licence}`. {rights}

Each line of `SPLIT/{data}` is one trajectory in the published schema of Mobile-R1: `instruction`, `app_name`, and a
list of steps with `image` (a file of `SPLIT/images/`), `thought`, `subtask`, `action` and `response`. Coordinates are
pixels of the picture. `bbox` is the element that an action touches, `elements` are those on the screen, `origin` is the
file and record of the source, and `subsets` are the parts of the source that the trajectory belongs to.

{table}

{left_out}

{leaks}

{settings}
"""


def write_card(out: Path, source: Source, summary: Summary, settings: Mapping[str, object]) -> None:
    """Write README.md with the counts, the licence, and the splits as `datasets.load_dataset` reads them."""
    header = {
        "license": source.licence,
        "tags": ["gui-agent", "mobile", source.name],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": name, "path": f"{name}/{DATA}"} for name in summary.splits],
            }
        ],
    }
    columns = {name: summary_rows(counts) for name, counts in summary.splits.items()}
    rows = [["", *columns], ["---"] * (len(columns) + 1)]
    rows += [[row, *(cells[row] for cells in columns.values())] for row in next(iter(columns.values()))]
    reasons = [f"- {reason.count:,}: {reason.reason} (the first: `{reason.origin}`)" for reason in summary.reasons]
    total = sum(reason.count for reason in summary.reasons)
    body = _BODY.format(
        title=source.title,
        url=source.url,
        licence=source.licence,
        rights=source.rights,
        data=DATA,
        table="\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows),
        left_out="\n".join([f"Left out: {total:,} episodes, listed in `{LEFT_OUT}`.", *reasons]),
        leaks="\n".join(f"- {line}" for line in leak_lines(summary.leaks))
        or "No split shares an instruction or a screen.",
        settings="Settings: " + ", ".join(f"`{name}={value}`" for name, value in settings.items()),
    )
    write_whole(out / "README.md", f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n{body}")
