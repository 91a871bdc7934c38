"""The contents of a report, read from a run directory or any directory of trajectories, without pixels.

Only the names of screenshots are kept, because a run may have more screenshots than fit in memory.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.coordinates import CoordinateGroup, DetectedFrame, detect_frame, response_points
from mobile_r1_jax.agent.data_files import DATA, IMAGES, has_data, read_lines
from mobile_r1_jax.agent.frames import Frame
from mobile_r1_jax.agent.progress import Progress
from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.agent.trajectory import Ending, trajectory_from_json
from mobile_r1_jax.evaluation.metrics import Result
from mobile_r1_jax.evaluation.results import RESULTS, read_results
from mobile_r1_jax.training.metrics import ROWS, read_rows
from mobile_r1_jax.viewer.selection import choose, same_tasks

CONFIG, TRAJECTORIES, EVALUATION, ANNOTATIONS = "config.yaml", "trajectories", "evaluation", "annotations"
SHOWN = 12  # most compared trajectories of each part, and most chosen ones


class ReportError(ValueError):
    """A directory without a readable report, in one line: what is wrong, where, and how to correct it."""


@dataclass(frozen=True)
class TurnView:
    """One turn, without its pixels.

    image: URL of the screenshot, relative to the page. frame: its pixels. text: the response as written. bbox: the
    annotated element, in the frame of the response.
    """

    image: str
    frame: Frame
    text: str
    effect: str
    bbox: tuple[int, int, int, int] | None


@dataclass(frozen=True)
class Strip:
    """One trajectory; `line`: its line in the part's data.jsonl, from 1; `task_id`: identifies the task, "" unknown."""

    line: int
    task: str
    app: str
    ending: Ending
    scores: dict[str, float]
    turns: tuple[TurnView, ...]
    task_id: str = ""
    progress: Progress | None = None

    @property
    def off_path(self) -> bool:
        """Whether the policy left the right path, as far as the run recorded it."""
        return bool(self.scores.get("off_path"))

    @property
    def recovered(self) -> bool:
        """Whether the policy left the right path and still finished the task."""
        return self.off_path and self.ending is Ending.SUCCESS


@dataclass(frozen=True)
class Part:
    """A directory of trajectories: the shown ones, the endings of all, and the lines that could not be read.

    compared: one for each task that all evaluations show. chosen: further interesting ones. found, resizing: the frame
    of the responses. assumed: no config defines the resizing.
    """

    name: str
    compared: tuple[Strip, ...]
    chosen: tuple[Strip, ...]
    endings: Counter[Ending]
    broken: tuple[tuple[int, str], ...]
    found: DetectedFrame
    resizing: Resizing
    assumed: bool

    @property
    def strips(self) -> tuple[Strip, ...]:
        """All shown trajectories."""
        return self.compared + self.chosen

    @property
    def title(self) -> str:
        """The name in words."""
        words = to_words(self.name)
        return words.replace(EVALUATION, f"{EVALUATION}:", 1) if words.startswith(f"{EVALUATION} ") else words

    @property
    def total(self) -> int:
        """Number of trajectories that could be read."""
        return sum(self.endings.values())

    def response_frame(self, turn: TurnView) -> Frame:
        """Return the frame of the coordinates in this turn's response."""
        return self.found.of(turn.frame.width, turn.frame.height)


@dataclass(frozen=True)
class Contents:
    """The contents of a report; a missing part is empty. comparison: which tasks are compared, or why none are."""

    directory: Path
    config: dict[str, Any]
    config_text: str
    rows: list[dict[str, Any]]
    results: list[Result]
    parts: tuple[Part, ...]
    comparison: str


def read_contents(directory: Path) -> Contents:
    """Read a run directory, or a directory of trajectories. Raise ReportError if there is nothing to show."""
    if not directory.is_dir():
        raise ReportError(f"no directory {directory}; name a run directory, or one that holds {DATA} and {IMAGES}/")
    config, text, resizing = _read_config(directory)
    folders = _folders(directory)
    if not (folders or any((directory / name).is_file() for name in (CONFIG, ROWS, RESULTS))):
        raise ReportError(
            f"nothing to report in {directory}: it has none of {CONFIG}, {ROWS}, {RESULTS}, {TRAJECTORIES}/ and"
            f" {DATA}; name a run directory or a directory of trajectories"
        )
    try:
        rows, results = read_rows(directory / ROWS), read_results(directory)
    except (ValueError, TypeError) as error:
        raise ReportError(
            f"{ROWS} or {RESULTS} in {directory} cannot be read: {' '.join(str(error).split())}"
        ) from error
    read = [read_part(name, folder, directory, resizing) for name, folder in _sort_folders(folders, results)]
    parts, comparison = _select(read)
    return Contents(directory, config, text, rows, results, tuple(parts), comparison)


def _select(parts: Sequence[Part]) -> tuple[list[Part], str]:
    """Return the parts with a selection of their trajectories, and the sentence on the compared tasks."""
    evaluations = [part for part in parts if part.name.startswith(EVALUATION)]
    compared, comparison = same_tasks([part.strips for part in evaluations], SHOWN)
    of = {part.name: strips for part, strips in zip(evaluations, compared, strict=True)}
    shown = []
    for part in parts:
        lines = {strip.line for strip in of.get(part.name, ())}
        rest = [strip for strip in part.strips if strip.line not in lines]
        shown.append(replace(part, compared=of.get(part.name, ()), chosen=choose(rest, SHOWN)))
    return shown, comparison


def _read_config(directory: Path) -> tuple[dict[str, Any], str, Resizing | None]:
    """Return the run's config, its text and its resizing; for a part of a run, only the resizing of that run."""
    for folder in (directory, *directory.resolve().parents[:2]):
        path = folder / CONFIG
        if path.is_file():
            try:
                text = path.read_text(encoding="utf-8")
                config = yaml.safe_load(text) or {}
                resizing = Resizing(**config["resizing"]) if "resizing" in config else Resizing()
            except (ValueError, TypeError, OSError, yaml.YAMLError) as error:
                raise ReportError(f"{path} is not a config of a run: {' '.join(str(error).split())}") from error
            return (config, text, resizing) if folder == directory else ({}, "", resizing)
    return {}, "", None


def _folders(directory: Path) -> dict[str, Path]:
    """Return the directories of trajectories, by the names of their parts."""
    found = {directory.resolve().name: directory} | {
        folder.name: folder for folder in sorted((directory / TRAJECTORIES).glob("*"))
    }
    found |= {folder.name: folder for folder in sorted(directory.glob(f"{ANNOTATIONS}*"))}
    return {name: folder for name, folder in found.items() if has_data(folder)}


def _sort_folders(folders: dict[str, Path], results: Sequence[Result]) -> list[tuple[str, Path]]:
    """Return the parts in order: evaluations in the order of the results, training rollouts, annotations."""
    order = [to_words(result.stage) for result in results]

    def rank(item: tuple[str, Path]) -> tuple[int, int, str]:
        name = to_words(item[0])
        stage = name.removeprefix(EVALUATION).strip()
        group = 0 if name.startswith(EVALUATION) else 2 if name.startswith(ANNOTATIONS) else 1
        return (group, order.index(stage) if stage in order else len(order), name)

    return sorted(folders.items(), key=rank)


def to_words(name: str) -> str:
    """Return a name in words: "evaluation task level" for "evaluation-task_level"."""
    return " ".join(name.replace("_", " ").replace("-", " ").split())


def read_part(name: str, folder: Path, page: Path, resizing: Resizing | None) -> Part:
    """Read a part with all its trajectories, before any comparison."""
    base = quote(f"{folder.relative_to(page).as_posix()}/{IMAGES}/".removeprefix("./"))
    strips: list[Strip] = []
    broken: list[tuple[int, str]] = []
    sampled = False
    for line, written in read_lines(folder):
        read = written if isinstance(written, Malformed) else trajectory_from_json(written, folder / IMAGES)
        if isinstance(read, Malformed):
            broken.append((line, read.reason))
            continue
        sampled = sampled or any(turn.completion for turn in read.turns)
        names = [base + quote(step["image"]) for step in json.loads(str(written))["trajectory"]]
        turns = tuple(
            TurnView(image, turn.frame, turn.response, turn.effect, turn.bbox)
            for image, turn in zip(names, read.turns, strict=True)
        )
        strips.append(Strip(line, read.task, read.app, read.ending, read.scores, turns, read.task_id, read.progress))
    endings = Counter(strip.ending for strip in strips)
    found = _find_frame(strips, sampled, resizing or Resizing())
    return Part(name, (), tuple(strips), endings, tuple(broken), found, resizing or Resizing(), resizing is None)


def _find_frame(strips: Sequence[Strip], sampled: bool, resizing: Resizing) -> DetectedFrame:
    """Return the frame of the responses: model pixels if sampled by a policy, else inferred from the coordinates."""
    if sampled:
        return DetectedFrame("resized", resizing, "coordinates are in model pixels: a policy sampled them")
    pairs = ((turn, response_points(turn.text)) for strip in strips for turn in strip.turns)
    seen = (
        CoordinateGroup(tuple(points), turn.frame.width, turn.frame.height)
        for turn, points in pairs
        if not isinstance(points, Malformed)
    )
    return detect_frame(seen, resizing)
