"""The report of a run: one HTML file that needs no network, for a browser or a web server."""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from mobile_r1_jax.agent.trajectory import Ending
from mobile_r1_jax.agent.whole_files import write_whole
from mobile_r1_jax.evaluation.metrics import Result, Share
from mobile_r1_jax.evaluation.tables import SHARES
from mobile_r1_jax.stages.declaration import STAGES
from mobile_r1_jax.viewer.charts import curve, endings_bar, intervals
from mobile_r1_jax.viewer.markup import Html, join, raw, tag
from mobile_r1_jax.viewer.reading import SHOWN, Contents, Part, Strip, read_contents, to_words
from mobile_r1_jax.viewer.strips import ENDINGS, render_strip

REPORT = "report.html"
# The most important curves, in order. The others follow in a closed section.
FIRST_CURVES = (
    *("reward", "success", "action_right", "format_right", "format_errors", "loss", "nll", "policy_loss", "entropy"),
    *("kl", "logp_difference", "turns", "response_tokens", "zero_variance_groups", "grad_norm"),
)


def write_report(run_directory: Path) -> Path:
    """Write report.html into a run directory, or into any directory of trajectories, and return its path.

    Raise ReportError in one line if there is nothing to show or the data cannot be read.
    """
    directory = Path(run_directory)
    page = render(read_contents(directory))
    path = directory / REPORT
    write_whole(path, page)
    return path


def render(contents: Contents) -> str:
    """Return the whole page as HTML."""
    name = str(contents.config.get("name") or contents.directory.resolve().name)
    sections = {"Trajectories": _trajectories(contents)}
    if contents.config or contents.results or contents.rows:
        sections = {"Results": _results(contents.results), "Training": _curves(contents.rows), **sections}
    if contents.config_text:
        sections["Config"] = tag("details", tag("summary", "config.yaml"), tag("pre", contents.config_text, tabindex=0))
    return html_page(name, _summary(contents), sections)


def html_page(name: str, summary: str, sections: Mapping[str, Html]) -> str:
    """Return a page with a title, a sentence about it, and sections by title."""
    style, script = _asset("style.css"), _asset("page.js")
    # Model output is escaped. As a second barrier, this policy lets the browser run and load only our own content.
    policy = f"default-src 'none'; img-src 'self' file:; style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{name} · Mobile-R1"),
        tag("style", raw(style)),
    )
    body = tag(
        "body",
        tag(
            "header",
            tag("h1", name),
            tag("p", summary),
            tag("nav", *(tag("a", title, href=f"#{title.lower()}") for title in sections)),
            class_="top",
        ),
        tag(
            "main",
            *(tag("section", tag("h2", title), content, id=title.lower()) for title, content in sections.items()),
        ),
        tag("script", raw(script)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _summary(contents: Contents) -> str:
    """Return one sentence that describes the run, from its config."""
    config = contents.config
    try:
        phones, (width, height) = config["phones"], config["phones"]["size"]
        supervised, steps, tasks = (config[name]["updates"] for name in STAGES)
        return (
            f"The base policy {config['policy']}, trained with {supervised} updates of format finetuning, {steps} of"
            f" action-level and {tasks} of task-level online training on {phones['count']} simulated phones of"
            f" {width}×{height} pixels, and evaluated on held-out tasks before and after each stage."
        )
    except (KeyError, TypeError, ValueError):
        total = sum(part.total for part in contents.parts)
        return f"{total} trajectories in {len(contents.parts)} part{'' if len(contents.parts) == 1 else 's'}."


# Results --------------------------------------------------------------------------------------------------------------


def _results(results: Sequence[Result]) -> Html:
    if not results:
        return tag("p", "No evaluation has finished yet.", class_="none")
    measures = {
        "Task success": [(result.stage, result.success) for result in results],
        "Recovery": [(result.stage, result.recovery) for result in results],
        "Unseen app": [(result.stage, result.unseen_app) for result in results],
    }
    drawn = [intervals(title, rows) for title, rows in measures.items() if any(share.of for _, share in rows)]
    failures = sum(result.infrastructure_failures + result.secure_pages for result in results)
    note = (
        "Held-out tasks, 95 % Wilson intervals. Recovery: success among the episodes in which the policy left the right"
        " path or met a pop-up."
    )
    if failures:
        note += f" {failures} episodes were ended by the phones and are in no share."
    return join(
        tag("div", *drawn, class_="panels"),
        tag("div", _table(results), class_="wide", tabindex=0, role="region", aria_label="Table of results"),
        tag("p", note, class_="note"),
    )


def _table(results: Sequence[Result]) -> Html:
    head = tag("tr", *(tag("th", column, scope="col") for column in ("Stage (in per cent)", *SHARES)))
    rows = [
        tag(
            "tr",
            tag("th", result.stage, scope="row"),
            *(_cell(getattr(result, name)) for name in SHARES.values()),
        )
        for result in results
    ]
    return tag("table", tag("thead", head), tag("tbody", *rows))


def _cell(share: Share) -> Html:
    if not share.of:
        return tag("td", "–")
    low, high = share.interval
    interval = f"{100 * max(0.0, low):.1f} to {100 * high:.1f}"  # rounding can give a value just below 0
    return tag(
        "td", tag("b", f"{100 * share.value:.1f}"), tag("small", interval), tag("small", f"{share.hits} of {share.of}")
    )


# Curves ---------------------------------------------------------------------------------------------------------------


def _curves(rows: Sequence[Mapping[str, Any]]) -> Html:
    if not rows:
        return tag("p", "No update has been made yet.", class_="none")
    stages = dict.fromkeys(str(row["stage"]) for row in rows)
    return join(*(_stage(stage, rows) for stage in stages))


def _stage(stage: str, rows: Sequence[Mapping[str, Any]]) -> Html:
    own = [row for row in rows if row["stage"] == stage]
    points: dict[str, list[tuple[float, float]]] = {}
    for row in own:
        for name, value in row.items():
            if name not in ("stage", "step") and isinstance(value, int | float) and math.isfinite(value):
                points.setdefault(name, []).append((row["step"], value))
    first = [name for name in FIRST_CURVES if name in points]
    others = sorted(set(points) - set(first))
    return join(
        tag("h3", to_words(stage), tag("small", f"{own[-1]['step']} updates")),
        tag("div", *(curve(to_words(name), points[name]) for name in first), class_="curves"),
        tag(
            "details",
            tag("summary", f"{len(others)} more curves"),
            tag("div", *(curve(to_words(name), points[name]) for name in others), class_="curves"),
        )
        if others
        else None,
    )


# Trajectories ---------------------------------------------------------------------------------------------------------


def _trajectories(contents: Contents) -> Html:
    parts = contents.parts
    if not any(part.total or part.broken for part in parts):
        return tag("p", "No trajectory has been written yet.", class_="none")
    return join(
        tag("p", _selection(parts), class_="note"),
        tag("p", contents.comparison, class_="note") if contents.comparison else None,
        tag("div", _part_button(None, parts), *(_part_button(part, parts) for part in parts), class_="parts"),
        _filters(parts),
        tag("p", role="status", class_="count"),
        *(_part(part) for part in parts),
    )


def _selection(parts: Sequence[Part]) -> str:
    shown, total = sum(len(part.strips) for part in parts), sum(part.total for part in parts)
    if shown == total:
        return f"All {total} trajectories are shown."
    return (
        f"{shown} of {total} trajectories are shown; the data files hold all. Up to {SHOWN} of each part are selected,"
        " in turn recoveries, failures and plain successes, latest updates first. They do not show how often a policy"
        " succeeds."
    )


def _part_button(part: Part | None, parts: Sequence[Part]) -> Html:
    """Return the button of a part (None: all parts). Its bar shows the endings of all its trajectories."""
    chosen = parts if part is None else [part]
    counts = {ending: sum(one.endings[ending] for one in chosen) for ending in Ending}
    shown, total = sum(len(one.strips) for one in chosen), sum(counts.values())
    said = ", ".join(f"{count} {ENDINGS[ending][1]}" for ending, count in counts.items() if count)
    return tag(
        "button",
        tag("span", "all parts" if part is None else part.title),
        endings_bar({str(ending): count for ending, count in counts.items()}),
        tag("small", f"{shown} of {total} shown"),
        type="button",
        title=said,
        aria_label=f"{'all parts' if part is None else to_words(part.name)}: {said}; {shown} of {total} shown",
        data_choose_part="" if part is None else part.name,
        aria_pressed="false",
    )


def _filters(parts: Sequence[Part]) -> Html:
    present = [ending for ending in Ending if any(one.ending is ending for part in parts for one in part.strips)]
    buttons = [
        tag(
            "button",
            tag("span", ENDINGS[ending][0], aria_hidden="true"),
            f" {ENDINGS[ending][1]} ",
            tag("small"),
            type="button",
            data_choose_ending=str(ending),
            aria_pressed="false",
            class_=str(ending),
        )
        for ending in present
    ]
    if any(one.off_path for part in parts for one in part.strips):
        buttons.append(
            tag(
                "button",
                "left the right path ",
                tag("small"),
                type="button",
                data_choose_off_path=True,
                aria_pressed="false",
            )
        )
    buttons.append(tag("button", type="button", data_forget_task=True, hidden=True, class_="forget"))
    return tag("div", *buttons, class_="filters", role="group", aria_label="Show only")


def _part(part: Part) -> Html:
    broken = tag(
        "details",
        tag("summary", f"{len(part.broken)} lines could not be read"),
        tag("ul", *(tag("li", f"line {line}: {reason}") for line, reason in part.broken[:20])),
    )
    where = part.found.reason
    if part.assumed and part.found.kind == "resized":
        where += f"; no config.yaml says how the screens were resized, so the default is assumed: {part.resizing}"
    return tag(
        "section",
        tag("h3", part.title, tag("small", f"{len(part.strips)} of {part.total}")),
        tag("p", where[:1].upper() + where[1:] + ".", class_="note"),
        broken if part.broken else None,
        *_group("The same tasks in every evaluation", part, part.compared),
        *_group("Selected", part, part.chosen),
        data_part=part.name,
        class_="part",
    )


def _group(title: str, part: Part, strips: Sequence[Strip]) -> list[Html]:
    """Return the trajectories of a part, with a title if the part has compared ones."""
    heading = [tag("h4", title, class_="group")] if strips and part.compared else []
    return heading + [render_strip(part, one) for one in strips]
