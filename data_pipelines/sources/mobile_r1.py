"""The published layout of Mobile-R1: data.jsonl and images/, which is also the layout that `convert` writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from data_pipelines.sources.drafts import Draft, DraftStep, Episode, Source, in_step
from mobile_r1_jax.agent.actions import WITH_ANSWER, Malformed, to_frame
from mobile_r1_jax.agent.coordinates import CoordinateGroup, DetectedFrame, detect_frame, response_points
from mobile_r1_jax.agent.data_files import IMAGES, data_file, has_data, read_lines
from mobile_r1_jax.agent.frames import Box, Frame
from mobile_r1_jax.agent.json_fields import BrokenError, check_numbers, check_type, get_field, parse_json
from mobile_r1_jax.agent.responses import parse_response
from mobile_r1_jax.agent.screenshots import PUBLISHED_RESIZING
from mobile_r1_jax.agent.trajectory import Element, Trajectory, Turn, trajectory_from_json


def read_episodes(path: Path) -> Iterator[Episode]:
    """Stream the lines of a directory, after a first pass over the coordinates of the whole file finds their frame."""
    lines, found = examine(path)
    file = data_file(path).name
    for number, line in read_lines(path):
        load = partial(read_annotation, line, path / IMAGES, found)
        yield Episode(f"{file}:{number}", number / lines, load)


def examine(path: Path) -> tuple[int, DetectedFrame]:
    """Return the number of the last line, and the frame of the coordinates of the lines that do not declare it."""
    points: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    last = 0
    for number, line in read_lines(path):
        last = number
        with suppress(BrokenError):  # reported when the line is read
            record = parse_json("" if isinstance(line, Malformed) else line, dict, "line")
            sides = [get_field(record, f"image_{side}", int) for side in ("width", "height")]
            for step in get_field(record, "trajectory", list) if "coordinates" not in record else ():
                width, height = check_numbers(check_type(step, dict, "step").get("size", sides), 2, "size")
                seen = response_points(get_field(step, "response", str).strip())
                if isinstance(seen, list) and min(width, height) > 0:
                    points[width, height] += seen
    groups = [CoordinateGroup(tuple(seen), *size) for size, seen in points.items()]
    return last, detect_frame(groups, PUBLISHED_RESIZING)


def read_annotation(line: str | Malformed, images: Path, found: DetectedFrame) -> Draft:
    """Return the draft of an annotated line. Raise BrokenError, also for a line of a policy: its pixels are unknown."""
    trajectory = read_line(line, images)
    if any(turn.completion for turn in trajectory.turns):
        raise BrokenError("written by a policy; convert its run directory with --source=runs")
    if trajectory.coordinates != "auto":
        found = DetectedFrame(trajectory.coordinates, PUBLISHED_RESIZING, "")
    return to_draft(trajectory, found)


def read_line(line: str | Malformed, images: Path) -> Trajectory:
    """Return the trajectory of a line. Raise BrokenError."""
    read = line if isinstance(line, Malformed) else trajectory_from_json(line, images)
    if isinstance(read, Malformed):
        raise BrokenError(read.reason)
    return read


def to_draft(trajectory: Trajectory, found: DetectedFrame, split: str = "") -> Draft:
    """Return a trajectory as a draft, whose coordinates are in pixels of its own pictures. Raise BrokenError."""
    steps = []
    for index, turn in enumerate(trajectory.turns):
        with in_step(index):
            steps.append(_step(turn, found.of(turn.frame.width, turn.frame.height)))
    return Draft(
        task=trajectory.task,
        app=trajectory.app,
        steps=tuple(steps),
        name=trajectory.task_id,
        split=split,
        subsets=trajectory.subsets,
        system=trajectory.system,
        ending=trajectory.ending,
    )


def _step(turn: Turn, written: Frame) -> DraftStep:
    response = parse_response(turn.response.strip(), written, WITH_ANSWER)
    if isinstance(response, Malformed):
        raise BrokenError(response.reason)
    screenshot = turn.screenshot

    def moved(bbox: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        if not (written.holds(*bbox[:2]) and written.holds(*bbox[2:])):
            raise BrokenError(f"bbox is outside the {written.width}x{written.height} {written.kind} image")
        box = Box(*bbox, written).to(screenshot.frame)
        return box.x1, box.y1, box.x2, box.y2

    return DraftStep(
        screenshot,
        to_frame(response.action, screenshot.frame),
        response.thought,
        response.sentence,
        bbox=moved(turn.bbox) if turn.bbox else None,
        elements=tuple(Element(moved(element.bbox), element.text) for element in turn.elements),
        mistake=turn.mistake,
    )


MOBILE_R1 = Source(
    name="mobile_r1",
    title="the published layout of Mobile-R1",
    url="https://huggingface.co/datasets/PG23/Mobile-R1",
    licence="other",
    rights="The published part of Mobile-R1 is Apache-2.0; your own annotations have the licence that you give them.",
    holds="data.jsonl (or data.jsonl.gz) and images/",
    recognises=has_data,
    episodes=read_episodes,
)
