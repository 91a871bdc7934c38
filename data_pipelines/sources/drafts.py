"""Drafts: the episodes that a source reads from another data set, before they become trajectories.

A draft has points and boxes in pixels of each step's own screenshot. Every fault of an episode raises
BrokenError, and the whole episode is left out: a golden history with a gap would teach wrong steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mobile_r1_jax.agent.actions import WITH_ANSWER, Action, Malformed, Terminate, action_name
from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.agent.json_fields import BrokenError, check_type, parse_json
from mobile_r1_jax.agent.pictures import read_picture
from mobile_r1_jax.agent.responses import Response, format_response, parse_response
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.agent.trajectory import Element, Ending, Trajectory, Turn

APPENDED = "The task is done."  # the action sentence of a terminate that a conversion adds
Bbox = tuple[int, int, int, int]


@dataclass(frozen=True)
class DraftStep:
    """A screenshot and the action on it; None: the screen after the last action. bbox: of the touched element."""

    screenshot: Screenshot
    action: Action | None
    thought: str = ""
    sentence: str = ""
    bbox: Bbox | None = None
    elements: tuple[Element, ...] = ()
    mistake: bool = False


@dataclass(frozen=True)
class Draft:
    """An episode. name: in the split files of the data set. split: by its folder, empty if that is not known."""

    task: str
    app: str
    steps: tuple[DraftStep, ...]
    name: str
    split: str = ""
    subsets: tuple[str, ...] = ()
    system: str = ""
    ending: Ending = Ending.SUCCESS


@dataclass(frozen=True)
class Completing:
    """Additions to data that lacks them.

    terminate: every trajectory ends with terminate, if the data has its last screen. thought: template of a missing
    thought, with {instruction}, {sentence} and {app}; empty: it stays missing.
    """

    terminate: bool = False
    thought: str = ""


@dataclass(frozen=True)
class Episode:
    """An episode that is not decoded yet.

    origin: "file:record", counted from 1. fraction: the share of the source up to here. load: decodes it; raises
    BrokenError, ValueError or OSError in one line.
    """

    origin: str
    fraction: float
    load: Callable[[], Draft]


@dataclass(frozen=True)
class Source:
    """A public data set.

    licence: the identifier that Hugging Face uses; rights: further terms, in words. holds: the contents of its
    directory, in words. recognises: returns whether a path holds the data set. episodes: streams its episodes, always
    in the same order. split_files: name -> JSON file that maps a split to the names of its episodes.
    """

    name: str
    title: str
    url: str
    licence: str
    holds: str
    recognises: Callable[[Path], bool]
    episodes: Callable[[Path], Iterator[Episode]]
    split_files: Callable[[Path], Mapping[str, Path]] = field(default=lambda path: {})
    rights: str = ""

    def read(self, path: Path, completing: Completing = Completing()) -> Iterator[Trajectory | Malformed]:
        """Stream the trajectories; a broken episode is Malformed, with "file:record: " and the reason."""
        for episode in self.episodes(path):
            loaded = load(episode, completing)
            yield loaded if isinstance(loaded, Malformed) else loaded[1]


def load(episode: Episode, completing: Completing) -> tuple[Draft, Trajectory] | Malformed:
    """Decode an episode. Return its draft and trajectory, or Malformed with its origin and the reason."""
    try:
        draft = episode.load()
        return draft, finish(draft, episode.origin, completing)
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        return Malformed(f"{episode.origin}: {reason}")


def read_names(file: Path) -> dict[str, tuple[str, ...]]:
    """Return episode -> the parts of a data set that a split file puts it in; {} if the file does not exist.

    Raise OneLineError if the file is not a JSON object of part -> episodes."""
    names: dict[str, tuple[str, ...]] = {}
    try:
        for part, members in parse_json(file.read_bytes(), dict, "it").items() if file.is_file() else ():
            for member in check_type(members, list, part):
                names[str(member)] = (*names.get(str(member), ()), part)
    except BrokenError as error:
        raise OneLineError(f"{file}: {error}; it must map each part to its episodes") from error
    return names


def broken(reason: Exception) -> Callable[[], Draft]:
    """Return the `load` of a record that cannot be read at all."""

    def fail() -> Draft:
        raise reason

    return fail


def finish(draft: Draft, origin: str, completing: Completing) -> Trajectory:
    """Return the trajectory of a draft. Raise BrokenError if a step cannot be read back."""
    steps = list(draft.steps)
    ends = any(isinstance(step.action, Terminate) for step in steps)
    if steps and steps[-1].action is None:
        last = steps.pop()
        if completing.terminate and steps and not ends:
            steps.append(DraftStep(last.screenshot, Terminate("success"), "", APPENDED, elements=last.elements))
    if not steps:
        raise BrokenError("no action")
    turns = []
    for index, step in enumerate(steps):
        with in_step(index):
            turns.append(_turn(step, draft, completing))
    return Trajectory(
        task=draft.task,
        app=draft.app,
        system=draft.system,
        turns=tuple(turns),
        ending=draft.ending,
        coordinates="screenshot",
        origin=origin,
        subsets=draft.subsets,
    )


@contextmanager
def in_step(index: int) -> Iterator[None]:
    """Add the number of the step to the message of a ValueError or OSError of the block."""
    try:
        yield
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BrokenError(f"step {index}: {reason}") from error


def read_screen(path: Path) -> Screenshot:
    """Return a picture file as a screenshot. Raise BrokenError that names it."""
    try:
        return read_picture(path.read_bytes())
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BrokenError(f"image {path.name}: {reason}") from error


def clip(left: float, top: float, right: float, bottom: float, screenshot: Screenshot) -> Bbox | None:
    """Return a box in whole pixels of the screenshot, cut off at its edges; None if nothing is left of it.

    Raise BrokenError for numbers that are not finite."""
    try:
        x1, y1, x2, y2 = (round(side) for side in (left, top, right, bottom))
    except (ValueError, OverflowError):  # NaN and infinity
        raise BrokenError(f"a box of {left}, {top}, {right}, {bottom}") from None
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, screenshot.width - 1), min(y2, screenshot.height - 1)
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def smallest_box(elements: Iterable[Element], x: int, y: int) -> Bbox | None:
    """Return the box with the least area that contains the pixel, edges included; None if none does."""
    boxes = (element.bbox for element in elements)
    around = [box for box in boxes if box[0] <= x <= box[2] and box[1] <= y <= box[3]]
    return min(around, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]), default=None)


def _turn(step: DraftStep, draft: Draft, completing: Completing) -> Turn:
    if step.action is None:
        raise BrokenError("a screen without an action before the end")
    thought, sentence = step.thought.strip(), step.sentence.strip()
    if not thought and completing.thought:
        thought = completing.thought.format(instruction=draft.task, sentence=sentence, app=draft.app).strip()
    if thought and not sentence:  # only missing parts at the start of a response carry no loss
        sentence = f"{action_name(step.action).replace('_', ' ').capitalize()}."
    text = format_response(Response(thought, sentence, step.action))
    read = parse_response(text, step.screenshot.frame, WITH_ANSWER)
    if isinstance(read, Malformed):
        raise BrokenError(read.reason)
    frame = step.screenshot.frame
    if step.bbox is not None and not (frame.holds(*step.bbox[:2]) and frame.holds(*step.bbox[2:])):
        raise BrokenError(f"box {step.bbox} is outside the {frame.width}x{frame.height} picture")
    return Turn(step.screenshot, text, bbox=step.bbox, mistake=step.mistake, elements=step.elements)
