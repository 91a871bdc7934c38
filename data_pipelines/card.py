"""The README.md of a converted data set: a card for Hugging Face, which lists the splits for `datasets`."""

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

{origin} Licence: `{licence}`. {rights}

Each line of `SPLIT/{data}` is one trajectory in the published schema of Mobile-R1: `instruction`, `app_name`, and a
list of steps with `image` (a file of `SPLIT/images/`), `thought`, `subtask`, `action` and `response`. Coordinates are
pixels of the picture. `bbox` is the element that an action touches, `elements` are those on the screen, `origin` is the
file and record of the source, and `subsets` are the parts of the source that the trajectory belongs to.

{table}

{left_out}

{leaks}

{settings}
"""


_TEXT, _WHOLE, _BOX = {"dtype": "string"}, {"dtype": "int64"}, {"list": "int64"}
_STEP = {
    "image": _TEXT,
    "thought": _TEXT,
    "subtask": _TEXT,
    "action": _TEXT,
    "response": _TEXT,
    "bbox": _BOX,
    "mistake": {"dtype": "bool"},
    "size": _BOX,
}
_LINE = {
    "app_name": _TEXT,
    "trajectory_length": _WHOLE,
    "instruction": _TEXT,
    "system": _TEXT,
    "image_width": _WHOLE,
    "image_height": _WHOLE,
    "trajectory": {"list": []},
    "ending": _TEXT,
    "coordinates": _TEXT,
    "origin": _TEXT,
    "subsets": {"list": "string"},
}


def _named(features: Mapping[str, Mapping[str, object]]) -> list[dict[str, object]]:
    return [{"name": name, **feature} for name, feature in features.items()]


def card_features() -> list[dict[str, object]]:
    """Return the features of a line, as `datasets` reads them in a card. Keys that a line lacks are null."""
    element = _named({"bbox": _BOX, "text": _TEXT})
    step = _named({**_STEP, "elements": {"list": element}})
    return _named({**_LINE, "trajectory": {"list": step}})


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
        "dataset_info": {"features": card_features()},
    }
    columns = {name: summary_rows(counts) for name, counts in summary.splits.items()}
    rows = [["", *columns], ["---"] * (len(columns) + 1)]
    rows += [[row, *(cells[row] for cells in columns.values())] for row in next(iter(columns.values()))]
    reasons = [f"- {reason.count:,}: {reason.reason} (the first: `{reason.origin}`)" for reason in summary.reasons]
    total = sum(reason.count for reason in summary.reasons)
    body = _BODY.format(
        title=source.title,
        origin=f"Converted from [{source.title}]({source.url})." if source.url else f"Converted from {source.title}.",
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
