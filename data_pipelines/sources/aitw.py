"""Android in the Wild (AITW): GZIP TFRecords, one step a record, with raw pixels.

Its steps have no thought and no action sentence. The finger goes from the touch point to the lift point.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from google.protobuf.message import Message
from PIL import Image

from data_pipelines.sources.aitw_actions import DUAL_POINT, read_action
from data_pipelines.sources.drafts import Draft, DraftStep, Episode, Source, broken, clip, in_step, smallest_box
from data_pipelines.sources.tfrecords import (
    first_features,
    get_list,
    get_one,
    parse_example,
    read_records,
)
from mobile_r1_jax.agent.actions import Click, Terminate
from mobile_r1_jax.agent.json_fields import BrokenError
from mobile_r1_jax.agent.screenshots import Screenshot, check_screen_size
from mobile_r1_jax.agent.trajectory import Element, Ending

_OPEN = 256 << 20  # largest number of bytes of incomplete episodes in memory
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def recognises(path: Path) -> bool:
    """Return whether the TFRecord files hold steps of AITW."""
    return "image/ui_annotations_positions" in first_features(path) or "results/action_type" in first_features(path)


def read_episodes(path: Path) -> Iterator[Episode]:
    """Stream the episodes of a file, or of all files below a directory.

    The steps of an episode may be mixed with those of others. An episode is broken if some of its steps are missing, or
    are further away than `_OPEN` bytes.
    """
    waiting: dict[str, list[tuple[str, bytes]]] = {}  # the steps of each incomplete episode, with their origins
    size, fraction = 0, 0.0
    for record in read_records(path):
        origin, fraction = f"{record.file}:{record.number}", record.fraction
        try:
            if isinstance(record.data, BrokenError):
                raise record.data
            features = parse_example(record.data)
            name, length = read_label(features, "episode_id"), get_one(features, "episode_length", int)
        except BrokenError as error:
            yield Episode(origin, fraction, broken(error))
            continue
        steps = waiting.setdefault(name, [])
        steps.append((origin, record.data))
        size += len(record.data)
        done = [name] if len(steps) >= length else []
        while done or size > _OPEN:
            parts = waiting.pop(done.pop() if done else next(iter(waiting)))
            size -= sum(len(data) for _, data in parts)
            yield Episode(parts[0][0], fraction, partial(read_episode, parts))
    for parts in waiting.values():
        yield Episode(parts[0][0], fraction, partial(read_episode, parts))


def read_episode(parts: Sequence[tuple[str, bytes]]) -> Draft:
    """Return the episode of the records of its steps, in any order. Raise BrokenError."""
    records = sorted((parse_example(data) for _, data in parts), key=lambda one: get_one(one, "step_id", int))
    numbers = [get_one(one, "step_id", int) for one in records]
    length = get_one(records[0], "episode_length", int)
    if numbers != list(range(length)):
        raise BrokenError(f"an episode of {length} steps; found: {numbers}")
    steps = []
    for index, features in enumerate(records):
        with in_step(index):
            steps.append(read_step(features))
    packages = Counter(read_label(one, "current_activity").split("/")[0] for one in records)
    goals = {get_one(one, "goal_info", str) for one in records}
    if len(goals) > 1:
        raise BrokenError(f"its steps have {len(goals)} different goals")
    gave_up = any(step.action == Terminate("failure") for step in steps)
    return Draft(
        task=goals.pop(),
        app=packages.most_common(1)[0][0],
        steps=tuple(steps),
        name=read_label(records[0], "episode_id"),
        ending=Ending.GAVE_UP if gave_up else Ending.SUCCESS,
    )


def read_label(features: Mapping[str, Message], key: str) -> str:
    """Return a feature as text, which may be bytes or a number: its type is not documented. Raise BrokenError."""
    try:
        return get_one(features, key, str)
    except BrokenError:
        return str(get_one(features, key, int))


def read_step(features: Mapping[str, Message]) -> DraftStep:
    """Return the step of a record. Raise BrokenError."""
    screenshot = read_pixels(features)
    number = get_one(features, "results/action_type", int)
    typed = get_list(features, "results/type_action", bytes) and get_one(features, "results/type_action", str)
    points = [[], []]
    if number == DUAL_POINT:
        points = [get_list(features, f"results/yx_{which}", float) for which in ("touch", "lift")]
    action = read_action(number, typed or "", *points, screenshot)
    elements = read_elements(features, screenshot)
    at = action.point if isinstance(action, Click) else None
    return DraftStep(screenshot, action, bbox=smallest_box(elements, at.x, at.y) if at else None, elements=elements)


def read_pixels(features: Mapping[str, Message]) -> Screenshot:
    """Return the picture of a record: raw bytes of height x width x channels. Raise ValueError if they do not fit."""
    height, width, channels = (get_one(features, f"image/{side}", int) for side in ("height", "width", "channels"))
    check_screen_size(width, height)
    pixels = get_one(features, "image/encoded", bytes)
    if channels not in _MODES or len(pixels) != height * width * channels:
        raise BrokenError(f"{len(pixels)} bytes of pixels for a picture of {width}x{height}x{channels}")
    file = io.BytesIO()
    Image.frombytes(_MODES[channels], (width, height), pixels).save(file, "PNG", compress_level=1)
    return Screenshot(file.getvalue())


def read_elements(features: Mapping[str, Message], screenshot: Screenshot) -> tuple[Element, ...]:
    """Return the annotated elements with their text, or their type if they have none. Raise BrokenError."""
    positions = get_list(features, "image/ui_annotations_positions", float)
    texts, types = (get_list(features, f"image/ui_annotations_{key}", bytes) for key in ("text", "ui_types"))
    count, rest = divmod(len(positions), 4)
    if rest or any(values and len(values) != count for values in (texts, types)):
        raise BrokenError(f"{len(positions)} numbers of boxes for {len(texts)} texts and {len(types)} types")
    elements = []
    for index in range(count):
        y, x, height, width = positions[4 * index : 4 * index + 4]
        box = clip(
            x * screenshot.width,
            y * screenshot.height,
            (x + width) * screenshot.width,
            (y + height) * screenshot.height,
            screenshot,
        )
        text = (texts[index] if texts else b"") or (types[index] if types else b"")
        if box:
            elements.append(Element(box, text.decode(errors="replace")))
    return tuple(elements)


def split_files(path: Path) -> dict[str, Path]:
    """Return the split files below a directory, by their names."""
    return {file.stem: file for file in sorted((path / "splits").glob("*.json"))} if path.is_dir() else {}


AITW = Source(
    name="aitw",
    title="Android in the Wild",
    url="https://github.com/google-research/google-research/tree/master/android_in_the_wild",
    licence="cc-by-4.0",
    holds="GZIP TFRecords *-of-* with one step a record, and splits/*.json",
    recognises=recognises,
    episodes=read_episodes,
    split_files=split_files,
)
