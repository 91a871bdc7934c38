"""Trajectories, and reading and writing them in the published schema.

A directory holds `images/` and `data.jsonl` (or `data.jsonl.gz`) with one JSON object per line:

    app_name · trajectory_length · instruction · system · image_width · image_height · trajectory: list of
      image (file name under images/) · thought · subtask (the action sentence) · action (the call, as JSON text) ·
      response (the full tagged response)

A rollout adds optional keys, which readers of the published schema ignore: `ending`, `outcome`, `progress`, `scores`
and `task_id` of the trajectory; `bbox`, `mistake`, `size`, `response_ids`, `logps`, `truncated_logps` and `effect` of a
step. So annotations and rollouts have the same format: a person can correct a rollout, and the policy can train on it.
Data converted from another format has `coordinates`, `origin` and `subsets`, and `elements` of a step.

image_width and image_height, or a step's own `size`, give the image that coordinates were annotated on. A picture of
the same shape and another size is a scaled copy. A picture with swapped sides is from a rotated phone.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.completion import Completion
from mobile_r1_jax.agent.coordinates import FrameSetting
from mobile_r1_jax.agent.data_files import DATA, IMAGES, read_lines
from mobile_r1_jax.agent.errors import name_file
from mobile_r1_jax.agent.frames import Frame
from mobile_r1_jax.agent.json_fields import BrokenError, check_type, get_field
from mobile_r1_jax.agent.json_lines import append_line
from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.agent.pictures import check_pixels, read_picture
from mobile_r1_jax.agent.progress import Progress, progress_from_json
from mobile_r1_jax.agent.responses import ResponseParts, split_response
from mobile_r1_jax.agent.screenshots import LONGEST_SIDE, Screenshot

LOGPS = ("logps", "truncated_logps")  # of a step, one number for each of its response_ids


class Ending(StrEnum):
    """How a trajectory ended.

    Success: the agent claimed success, and the task was done. Claimed: it claimed success, and the outcome is unknown.
    An infrastructure failure is never the policy's failure. A secure page forbids screenshots, so that neither success
    nor failure is known. Interrupted: the person who watched it stopped it.
    """

    SUCCESS = "success"
    CLAIMED = "claimed"
    FAILURE = "failure"
    GAVE_UP = "gave_up"
    OUT_OF_STEPS = "out_of_steps"
    INFRASTRUCTURE_FAILURE = "infrastructure_failure"
    SECURE_PAGE = "secure_page"
    INTERRUPTED = "interrupted"

    @property
    def depends_on_policy(self) -> bool:
        """Whether the ending depends on the policy. Other episodes are in no share and in no advantage."""
        return self not in (Ending.INFRASTRUCTURE_FAILURE, Ending.SECURE_PAGE, Ending.INTERRUPTED)


@dataclass(frozen=True)
class Element:
    """An element on a screen: its box (x1, y1, x2, y2), in the pixels of the turn's coordinates, and its text."""

    bbox: tuple[int, int, int, int]
    text: str = ""


@dataclass(frozen=True)
class Turn:
    """One screenshot and the response to it.

    response: the text of the policy or the annotator, well-formed or not. completion: the sampled tokens; None for
    annotations. bbox: (x1, y1, x2, y2) of the element to act on, in the same pixels as the response's coordinates.
    effect: what the phone did, in words. mistake: the annotator marked this step as wrong; it is history for the next
    steps, and never a training example [ours]. size: (width, height) of the annotated image, if it is not the
    screenshot's. elements: those of the screen, if the data lists them; rules of offline evaluations read them.
    """

    screenshot: Screenshot
    response: str
    completion: Completion | None = None
    bbox: tuple[int, int, int, int] | None = None
    effect: str = ""
    mistake: bool = False
    size: tuple[int, int] | None = None
    elements: tuple[Element, ...] = ()

    @property
    def frame(self) -> Frame:
        """Return the frame of the image that the turn was annotated on."""
        return self.screenshot.frame if self.size is None else Frame("screenshot", *self.size)


@dataclass(frozen=True)
class Trajectory:
    """The turns of one episode or annotation.

    task: the instruction. system: the system message of its prompts, empty if none was stored. task_id: `Task.id`,
    empty if it is not known. outcome: whether the task is done, by a verifier. progress: at the end, if the phone
    reports it. coordinates: the frame of all coordinates, if the data declares it. origin: file and record of another
    format that it was converted from. subsets: parts of a data set that it belongs to, such as app_unseen.
    """

    task: str
    app: str
    system: str
    turns: tuple[Turn, ...]
    ending: Ending
    scores: dict[str, float] = field(default_factory=dict)
    task_id: str = ""
    outcome: Outcome = Outcome.UNKNOWN
    progress: Progress | None = None
    coordinates: FrameSetting = "auto"
    origin: str = ""
    subsets: tuple[str, ...] = ()


def trajectory_to_json(trajectory: Trajectory) -> str:
    """Return the line of data.jsonl, without line break; images are named by hash. Raise ValueError without a turn."""
    if not trajectory.turns:
        raise ValueError(f"trajectory of {trajectory.task!r} has no turns; a file cannot hold it")
    first = trajectory.turns[0].frame
    record = {
        "app_name": trajectory.app,
        "trajectory_length": len(trajectory.turns),
        "instruction": trajectory.task,
        "system": trajectory.system,
        "image_width": first.width,
        "image_height": first.height,
        "trajectory": [_step(turn, first) for turn in trajectory.turns],
        "ending": trajectory.ending.value,
    }
    if trajectory.scores:
        record["scores"] = dict(trajectory.scores)
    if trajectory.task_id:
        record["task_id"] = trajectory.task_id
    if trajectory.outcome is not Outcome.UNKNOWN:
        record["outcome"] = trajectory.outcome.value
    if trajectory.progress is not None:
        record["progress"] = asdict(trajectory.progress)
    if trajectory.coordinates != "auto":
        record["coordinates"] = trajectory.coordinates
    if trajectory.origin:
        record["origin"] = trajectory.origin
    if trajectory.subsets:
        record["subsets"] = list(trajectory.subsets)
    return json.dumps(record, ensure_ascii=False, allow_nan=False)


def trajectory_from_json(line: str, images: Path, decoded: set[str] | None = None) -> Trajectory | Malformed:
    """Read one line of data.jsonl, and the screenshots that it names from the folder `images`.

    decoded: hashes of the screenshots whose pixels were decoded before; the others are decoded and added. None: no
    pixels are decoded. Return Malformed with the reason for a line that is not JSON, for a field that is missing or of
    the wrong type, for a wrong length, and for a screenshot that is missing, damaged or not of the declared shape.
    Responses are not parsed. A line without `ending` is an annotation, and so a success.
    """
    try:
        record = json.loads(line)
        check_type(record, dict, "line")
        steps = get_field(record, "trajectory", list)
        if not steps:
            raise BrokenError("trajectory is empty")
        if get_field(record, "trajectory_length", int) != len(steps):
            raise BrokenError(f"trajectory_length is {record['trajectory_length']} but there are {len(steps)} steps")
        width, height = (_side(get_field(record, side, int), side) for side in ("image_width", "image_height"))
        ending = record.get("ending", Ending.SUCCESS.value)
        task_id, outcome = record.get("task_id"), record.get("outcome")  # other writers may store anything here
        coordinates = record.get("coordinates", "auto")
        if coordinates not in get_args(FrameSetting):
            raise BrokenError(f"coordinates must be screenshot or resized, is {coordinates!r}")
        if ending not in list(Ending):
            raise BrokenError(f"ending must be one of {[e.value for e in Ending]}, is {ending!r}")
        return Trajectory(
            task=get_field(record, "instruction", str),
            app=get_field(record, "app_name", str),
            system=get_field(record, "system", str, ""),
            turns=tuple(_turn(step, index, images, (width, height), decoded) for index, step in enumerate(steps)),
            ending=Ending(ending),
            scores={name: _number(score, "scores") for name, score in get_field(record, "scores", dict, {}).items()},
            task_id=task_id if isinstance(task_id, str) and task_id.isascii() else "",
            outcome=Outcome(outcome) if outcome in list(Outcome) else Outcome.UNKNOWN,
            progress=progress_from_json(record["progress"]) if "progress" in record else None,
            coordinates=coordinates,
            origin=get_field(record, "origin", str, ""),
            subsets=tuple(check_type(name, str, "subsets") for name in get_field(record, "subsets", list, [])),
        )
    except BrokenError as error:
        return Malformed(str(error))
    except (ValueError, RecursionError) as error:
        return Malformed(f"not JSON: {error}")


def read_trajectories(directory: Path, decoded: set[str] | None = None) -> Iterator[tuple[int, Trajectory | Malformed]]:
    """Yield a directory's trajectories, each with its line number (from 1). Skip blank lines.

    Worker threads read a few lines ahead. They decode the pixels of each distinct screenshot whose hash is not in
    `decoded`, and add the hash. Raise FileNotFoundError when there is no data.jsonl.
    """
    images, decoded = Path(directory) / IMAGES, set() if decoded is None else decoded
    workers = os.cpu_count() or 1
    ahead: deque[tuple[int, Future[Trajectory | Malformed]]] = deque()

    def read(line: str | Malformed) -> Trajectory | Malformed:
        return line if isinstance(line, Malformed) else trajectory_from_json(line, images, decoded)

    with ThreadPoolExecutor(workers) as pool:
        for number, line in read_lines(directory):
            ahead.append((number, pool.submit(read, line)))
            if len(ahead) > 2 * workers:
                number, reading = ahead.popleft()
                yield number, reading.result()
        for number, reading in ahead:
            yield number, reading.result()


def write_trajectories(directory: Path, trajectories: Iterable[Trajectory]) -> None:
    """Append trajectories to a directory's data.jsonl; each distinct screenshot is stored once, by its hash."""
    directory = Path(directory)
    images = directory / IMAGES
    images.mkdir(parents=True, exist_ok=True)
    for trajectory in trajectories:
        line = trajectory_to_json(trajectory)
        for turn in trajectory.turns:
            store_image(images, turn.screenshot)
        # Images first, then the line in one write: a reader never sees half a line, or a line without its images.
        append_line(directory / DATA, line)


def image_name(screenshot: Screenshot) -> str:
    """Return the file name of a stored screenshot, by its hash."""
    return f"{screenshot.sha}.png"


def store_image(folder: Path, screenshot: Screenshot) -> None:
    """Write a screenshot into a folder, unless it exists. Atomic, also when several processes write the same one."""
    path = folder / image_name(screenshot)
    if path.exists():
        return
    draft = path.with_suffix(f".{os.getpid()}.draft")
    try:
        with name_file(path):
            draft.write_bytes(screenshot.png)
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _step(turn: Turn, first: Frame) -> dict[str, Any]:
    parts = split_response(turn.response)
    if isinstance(parts, Malformed):  # a malformed response leaves the published fields empty
        parts = ResponseParts("", "", "")
    step: dict[str, Any] = {
        "image": image_name(turn.screenshot),
        "thought": parts.thought,
        "subtask": parts.sentence,
        "action": parts.call,
        "response": turn.response,
    }
    if turn.bbox is not None:
        step["bbox"] = list(turn.bbox)
    if turn.completion is not None:
        step["response_ids"] = list(turn.completion.ids)
        for name in LOGPS:
            if logps := getattr(turn.completion, name):
                step[name] = list(logps)
    if turn.effect:
        step["effect"] = turn.effect
    if turn.mistake:
        step["mistake"] = True
    if turn.frame != first:
        step["size"] = [turn.frame.width, turn.frame.height]
    if turn.elements:
        step["elements"] = [element_to_json(element) for element in turn.elements]
    return step


def _turn(step: Any, index: int, images: Path, declared: tuple[int, int], decoded: set[str] | None) -> Turn:
    try:
        check_type(step, dict, "step")
        ids = get_field(step, "response_ids", list, [])
        if not all(type(token) is int and 0 <= token < 1 << 31 for token in ids):
            raise BrokenError("response_ids must be token ids, whole numbers from 0")
        logps = {name: tuple(_number(logp, name) for logp in get_field(step, name, list, [])) for name in LOGPS}
        for name, numbers in logps.items():
            if numbers and len(numbers) != len(ids):
                raise BrokenError(f"{len(numbers)} {name} for {len(ids)} response_ids")
        screenshot = _screenshot(get_field(step, "image", str), images, decoded)
        sides = [_side(side, "size") for side in get_field(step, "size", list, list(declared))]
        if len(sides) != 2:
            raise BrokenError(f"size must be [width, height], is {sides}")
        return Turn(
            screenshot=screenshot,
            response=get_field(step, "response", str),
            completion=Completion(tuple(ids), **logps) if ids else None,
            bbox=None if step.get("bbox") is None else read_bbox(step["bbox"]),
            effect=get_field(step, "effect", str, ""),
            mistake=get_field(step, "mistake", bool, False),
            size=_annotated_size((sides[0], sides[1]), screenshot),
            elements=tuple(read_element(element) for element in get_field(step, "elements", list, [])),
        )
    except BrokenError as error:
        raise BrokenError(f"step {index}: {error}") from None


def _screenshot(name: str, images: Path, decoded: set[str] | None) -> Screenshot:
    if not name or Path(name).name != name or "\0" in name:
        raise BrokenError(f"image must be a plain file name, is {name!r}")
    try:
        screenshot = read_picture((images / name).read_bytes())
        if decoded is not None and screenshot.sha not in decoded:
            check_pixels(screenshot)
            decoded.add(screenshot.sha)
        return screenshot
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BrokenError(f"image {name}: {reason}") from None


def _side(value: Any, what: str) -> int:
    if type(value) is not int or not 0 < value <= LONGEST_SIDE:
        raise BrokenError(f"{what} must be above 0 and at most {LONGEST_SIDE} pixels, is {value!r}")
    return value


def _annotated_size(declared: tuple[int, int], screenshot: Screenshot) -> tuple[int, int] | None:
    """Return the declared size in the orientation of the picture; None if it is the picture's own size."""
    width, height = screenshot.width, screenshot.height
    if (width, height) in (declared, declared[::-1]):
        return None
    for across, down in (declared, declared[::-1]):
        # The same shape: at the same height, the widths differ by at most a pixel (or the heights at the same width).
        if abs(across * height - down * width) <= max(across, down):
            return across, down
    raise BrokenError(
        f"the picture is {width}x{height}, but {declared[0]}x{declared[1]} is declared, which is another shape;"
        " correct the size, or the picture"
    )


def element_to_json(element: Element) -> dict[str, Any]:
    """Return an element as JSON, which `read_element` reads."""
    return {"bbox": list(element.bbox), "text": element.text}


def read_element(value: Any) -> Element:
    """Return an element of a step's `elements`. Raise BrokenError."""
    return Element(
        read_bbox(get_field(check_type(value, dict, "elements"), "bbox", list)), get_field(value, "text", str, "")
    )


def read_bbox(value: Any) -> tuple[int, int, int, int]:
    """Return the box of a JSON list. Raise BrokenError."""
    if isinstance(value, list) and len(value) == 4 and all(type(v) is int and v < 1 << 31 for v in value):
        x1, y1, x2, y2 = value
        if 0 <= x1 <= x2 and 0 <= y1 <= y2:
            return (x1, y1, x2, y2)
    raise BrokenError(f"bbox must be whole numbers x1 <= x2, y1 <= y2, is {value!r}")


def _number(value: Any, what: str) -> float:
    if type(value) not in (int, float) or not abs(value) < 1e30:  # NaN and infinity fail the comparison
        raise BrokenError(f"{what} must be finite numbers, has {value!r}")
    return float(value)
