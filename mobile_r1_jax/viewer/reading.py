"""What a report shows, read from a run directory or from any directory of trajectories, without the pixels.

Screenshots are named, never kept: a run may hold more of them than memory does.
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
from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.agent.trajectory import Ending, trajectory_from_json
from mobile_r1_jax.evaluation.metrics import Result
from mobile_r1_jax.evaluation.results import RESULTS, read_results
from mobile_r1_jax.training.metrics import ROWS, read_rows
from mobile_r1_jax.viewer.selection import choose, same_tasks

CONFIG, TRAJECTORIES, EVALUATION, ANNOTATIONS = "config.yaml", "trajectories", "evaluation", "annotations"
SHOWN = 12  # trajectories of each part that are compared, and as many that are chosen for a look


class ReportError(ValueError):
    """A directory that no report can be made of, in one line: what is wrong, where, and how to put it right."""


@dataclass(frozen=True)
class Look:
    """One turn, without its pixels.

    image: URL of the screenshot, relative to the page; frame: its own pixels; text: the response as it was written;
    bbox: the annotated element, in the pixels that the response speaks of.
    """

    image: str
    frame: Frame
    text: str
    effect: str
    bbox: tuple[int, int, int, int] | None


@dataclass(frozen=True)
class Strip:
    """One trajectory; `line` is its place in the part's data.jsonl, from 1; `task_id` tells tasks apart, "" unknown."""

    line: int
    task: str
    app: str
    ending: Ending
    scores: dict[str, float]
    looks: tuple[Look, ...]
    task_id: str = ""

    @property
    def off_path(self) -> bool:
        """Whether the policy left the right path on its way, as far as the run can tell."""
        return bool(self.scores.get("off_path"))

    @property
    def recovered(self) -> bool:
        """Whether it left the right path and still did what it was asked to do."""
        return self.off_path and self.ending is Ending.SUCCESS


@dataclass(frozen=True)
class Part:
    """A directory of trajectories: those that are shown, how all of them ended, and what could not be read.

    compared: of the tasks that all evaluations show; chosen: further ones that are worth a look. found, resizing: which
    pixels the responses speak of. assumed: no config said how the screens were resized.
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
        """All that are shown."""
        return self.compared + self.chosen

    @property
    def title(self) -> str:
        """The name in words."""
        words = plain(self.name)
        return words.replace(EVALUATION, f"{EVALUATION}:", 1) if words.startswith(f"{EVALUATION} ") else words

    @property
    def total(self) -> int:
        """Trajectories that could be read."""
        return sum(self.endings.values())

    def said_in(self, look: Look) -> Frame:
        """The frame of the coordinates in this turn's response."""
        return self.found.of(look.frame.width, look.frame.height)


@dataclass(frozen=True)
class Contents:
    """All that a report is made of; what the directory lacks is empty. comparison: which tasks are compared, or why
    none are."""

    directory: Path
    config: dict[str, Any]
    config_text: str
    rows: list[dict[str, Any]]
    results: list[Result]
    parts: tuple[Part, ...]
    comparison: str


def read_contents(directory: Path) -> Contents:
    """Reads a run directory, or a directory of trajectories. Raises ReportError when there is nothing to show."""
    if not directory.is_dir():
        raise ReportError(f"no directory {directory}; name a run directory, or one that holds {DATA} and {IMAGES}/")
    config, text, resizing = _read_config(directory)
    folders = _folders(directory)
    if not (folders or any((directory / name).is_file() for name in (CONFIG, ROWS, RESULTS))):
        raise ReportError(
            f"nothing to report in {directory}: none of {CONFIG}, {ROWS}, {RESULTS}, {TRAJECTORIES}/ and {DATA} is"
            " there; name a run directory or a directory of trajectories"
        )
    try:
        rows, results = read_rows(directory / ROWS), read_results(directory)
    except (ValueError, TypeError) as error:
        raise ReportError(
            f"{ROWS} or {RESULTS} in {directory} cannot be read: {' '.join(str(error).split())}"
        ) from error
    read = [_read_part(name, folder, directory, resizing) for name, folder in _in_story_order(folders, results)]
    parts, comparison = _shown(read)
    return Contents(directory, config, text, rows, results, tuple(parts), comparison)


def _shown(parts: Sequence[Part]) -> tuple[list[Part], str]:
    """Return the parts with a selection of their trajectories, and the sentence about what is compared."""
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
    """The run's config, as it was written, and its resizing, or that of the run which this is a part of."""
    for folder in (directory, *directory.resolve().parents[:2]):
        path = folder / CONFIG
        if path.is_file():
            try:
                text = path.read_text(encoding="utf-8")
                config = yaml.safe_load(text) or {}
                resizing = Resizing(**config["resizing"]) if "resizing" in config else Resizing()
            except (ValueError, TypeError, OSError, yaml.YAMLError) as error:
                raise ReportError(f"{path} is no config of a run: {' '.join(str(error).split())}") from error
            return (config, text, resizing) if folder == directory else ({}, "", resizing)
    return {}, "", None


def _folders(directory: Path) -> dict[str, Path]:
    """The directories of trajectories, by the names of their parts."""
    found = {directory.resolve().name: directory} | {
        folder.name: folder for folder in sorted((directory / TRAJECTORIES).glob("*"))
    }
    found |= {folder.name: folder for folder in sorted(directory.glob(f"{ANNOTATIONS}*"))}
    return {name: folder for name, folder in found.items() if has_data(folder)}


def _in_story_order(folders: dict[str, Path], results: Sequence[Result]) -> list[tuple[str, Path]]:
    """Evaluations in the order of the results, then what was played in training, then what was annotated."""
    order = [plain(result.stage) for result in results]

    def rank(item: tuple[str, Path]) -> tuple[int, int, str]:
        name = plain(item[0])
        stage = name.removeprefix(EVALUATION).strip()
        group = 0 if name.startswith(EVALUATION) else 2 if name.startswith(ANNOTATIONS) else 1
        return (group, order.index(stage) if stage in order else len(order), name)

    return sorted(folders.items(), key=rank)


def plain(name: str) -> str:
    """A name in words: "evaluation-task_level" is "evaluation task level"."""
    return " ".join(name.replace("_", " ").replace("-", " ").split())


def _read_part(name: str, folder: Path, page: Path, resizing: Resizing | None) -> Part:
    """Read a part with all its trajectories; none is compared yet."""
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
        looks = tuple(
            Look(image, turn.frame, turn.response, turn.effect, turn.bbox)
            for image, turn in zip(names, read.turns, strict=True)
        )
        strips.append(Strip(line, read.task, read.app, read.ending, read.scores, looks, read.task_id))
    endings = Counter(strip.ending for strip in strips)
    found = _found_frame(strips, sampled, resizing or Resizing())
    return Part(name, (), tuple(strips), endings, tuple(broken), found, resizing or Resizing(), resizing is None)


def _found_frame(strips: Sequence[Strip], sampled: bool, resizing: Resizing) -> DetectedFrame:
    """What a policy sampled is in model pixels; of what was annotated the coordinates themselves tell."""
    if sampled:
        return DetectedFrame("resized", resizing, "coordinates are in model pixels: a policy sampled them")
    pairs = ((look, response_points(look.text)) for strip in strips for look in strip.looks)
    seen = (
        CoordinateGroup(tuple(points), look.frame.width, look.frame.height)
        for look, points in pairs
        if not isinstance(points, Malformed)
    )
    return detect_frame(seen, resizing)
