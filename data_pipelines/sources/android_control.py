"""AndroidControl: GZIP TFRecords, one episode a record, with the accessibility forest of every screen.

Its actions have no thought and no terminate. `scroll` names the direction of the content, which is opposite to the
finger in all four cases. An action lies between two screenshots, so there is one screenshot more than actions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from data_pipelines.sources.drafts import (
    Draft,
    DraftStep,
    Episode,
    Source,
    broken,
    clip,
    in_step,
    read_names,
    smallest_box,
)
from data_pipelines.sources.messages import message_types
from data_pipelines.sources.tfrecords import (
    decode_text,
    first_features,
    get_list,
    get_one,
    parse_example,
    parse_message,
    read_records,
)
from mobile_r1_jax.agent.actions import Action, Click, LongPress, Open, Swipe, SystemButton, Type, Wait
from mobile_r1_jax.agent.frames import Point
from mobile_r1_jax.agent.json_fields import BrokenError, get_field, parse_json
from mobile_r1_jax.agent.pictures import read_picture
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.agent.trajectory import Element

# Start and end of the finger by the direction of the content, in quarters of the screen's width and height.
_FINGER = {
    "down": ((2, 3), (2, 1)),
    "up": ((2, 1), (2, 3)),
    "right": ((3, 2), (1, 2)),
    "left": ((1, 2), (3, 2)),
}
_HOLD, _WAIT = 1, 2  # seconds; the data has none [ours]
_APPLICATION = 1  # the window_type
# Packages in front before an app opens; they are not apps of the task.
_NO_APP = ("launcher", "com.android.systemui")
_FOREST = message_types(
    {
        "Forest": {"windows": (1, "repeated Window")},
        "Window": {"bounds_in_screen": (1, "Rect"), "window_type": (6, "int32"), "tree": (11, "Tree")},
        "Tree": {"nodes": (1, "repeated Node")},
        "Node": {
            "bounds_in_screen": (2, "Rect"),
            "content_description": (4, "bytes"),
            "package_name": (6, "bytes"),
            "text": (7, "bytes"),
            "is_visible_to_user": (23, "bool"),
        },
        "Rect": {"left": (1, "int32"), "top": (2, "int32"), "right": (3, "int32"), "bottom": (4, "int32")},
    }
)["Forest"]


def recognises(path: Path) -> bool:
    """Return whether the TFRecord files hold episodes of AndroidControl."""
    return "step_instructions" in first_features(path)


def read_episodes(path: Path) -> Iterator[Episode]:
    """Stream the episodes of a file, or of all files of a directory with splits.json and test_subsplits.json."""
    subsets = read_names(path / "test_subsplits.json") if path.is_dir() else {}
    for record in read_records(path):
        data = record.data
        load = broken(data) if isinstance(data, BrokenError) else partial(read_episode, data, subsets)
        yield Episode(f"{record.file}:{record.number}", record.fraction, load)


def read_episode(data: bytes, subsets: Mapping[str, tuple[str, ...]]) -> Draft:
    """Return the episode of a record. Raise BrokenError."""
    features = parse_example(data)
    screenshots = get_list(features, "screenshots", bytes)
    actions = get_list(features, "actions", bytes)
    if not actions:
        raise BrokenError("no action")
    if len(screenshots) != len(actions) + 1:
        raise BrokenError(f"{len(screenshots)} screenshots for {len(actions)} actions; there must be one more")
    widths = _one_each(features, "screenshot_widths", int, len(screenshots))
    heights = _one_each(features, "screenshot_heights", int, len(screenshots))
    forests = _one_each(features, "accessibility_trees", bytes, len(screenshots)) or [b""] * len(screenshots)
    sentences = _one_each(features, "step_instructions", bytes, len(actions)) or [b""] * len(actions)
    steps, packages = [], Counter[str]()
    for index, png in enumerate(screenshots):
        with in_step(index):
            screenshot = read_picture(png)
            declared = [sides[index] for sides in (widths, heights) if sides]
            if declared and declared != [screenshot.width, screenshot.height]:
                size = f"{screenshot.width}x{screenshot.height}"
                raise BrokenError(f"the picture is {size}, but {'x'.join(map(str, declared))} is declared")
            elements, visible, package = read_forest(forests[index], screenshot)
            packages[package] += 1
            action = sentence = None
            if index < len(actions):
                action = read_action(parse_json(actions[index], dict, "the action"), screenshot)
                sentence = decode_text(sentences[index], "step_instructions")
            at = action.point if isinstance(action, (Click, LongPress)) else None
            box = smallest_box(visible, at.x, at.y) if at else None
            steps.append(DraftStep(screenshot, action, sentence=sentence or "", bbox=box, elements=elements))
    name = str(get_one(features, "episode_id", int))
    return Draft(get_one(features, "goal", str), _app(packages), tuple(steps), name, subsets=subsets.get(name, ()))


def read_action(record: Mapping[str, Any], screenshot: Screenshot) -> Action:
    """Return the action of a JSON object. Raise BrokenError for one that is unknown, or whose arguments are wrong."""
    kind, frame = get_field(record, "action_type", str), screenshot.frame
    if kind in ("click", "long_press"):
        x, y = (get_field(record, axis, int) for axis in "xy")
        if not frame.holds(x, y):
            raise BrokenError(f"{kind} at ({x}, {y}) is outside the {frame.width}x{frame.height} picture")
        return Click(Point(x, y, frame)) if kind == "click" else LongPress(Point(x, y, frame), _HOLD)
    if kind == "scroll":
        direction = get_field(record, "direction", str)
        if direction not in _FINGER:
            raise BrokenError(f"scroll direction {direction!r} is none of {', '.join(_FINGER)}")
        return Swipe(*(Point(x * frame.width // 4, y * frame.height // 4, frame) for x, y in _FINGER[direction]))
    if kind == "input_text":
        return Type(get_field(record, "text", str))
    if kind == "open_app":
        return Open(get_field(record, "app_name", str))
    plain = {"navigate_home": SystemButton("Home"), "navigate_back": SystemButton("Back"), "wait": Wait(_WAIT)}
    if kind not in plain:
        raise BrokenError(f"action_type {kind!r} has no counterpart in mobile_use")
    return plain[kind]


def read_forest(data: bytes, screenshot: Screenshot) -> tuple[tuple[Element, ...], tuple[Element, ...], str]:
    """Return the elements of an accessibility forest, its visible elements, and the package in front.

    The elements are the boxes of all windows and nodes, invisible ones too, without repetition and cut off at the edges
    of the screen, with the text or else the description. Raise BrokenError for bytes that are not a forest.
    """
    every: dict[Element, None] = {}
    visible: dict[Element, None] = {}
    packages = Counter[bytes]()
    for window in parse_message(_FOREST, data, "the accessibility forest").windows:
        _add(every, window.bounds_in_screen, b"", screenshot)
        for node in window.tree.nodes:
            found = [every, visible] if node.is_visible_to_user else [every]
            for elements in found:
                _add(elements, node.bounds_in_screen, node.text or node.content_description, screenshot)
            if node.is_visible_to_user and node.package_name and window.window_type == _APPLICATION:
                packages[node.package_name] += 1
    [(package, _)] = packages.most_common(1) or [(b"", 0)]
    return tuple(every), tuple(visible), package.decode(errors="replace")


def _add(elements: dict[Element, None], bounds: Message, text: bytes, screenshot: Screenshot) -> None:
    if box := clip(bounds.left, bounds.top, bounds.right, bounds.bottom, screenshot):
        elements[Element(box, text.decode(errors="replace"))] = None


def _one_each(features: Mapping[str, Message], key: str, kind: type, count: int) -> list[Any]:
    values = get_list(features, key, kind)
    if values and len(values) != count:
        raise BrokenError(f"{len(values)} {key}, there must be {count}")
    return values


def _app(packages: Counter[str]) -> str:
    """Return the package that is in front on most screens, the launcher and the system only if there is no other."""
    apps = {name: count for name, count in packages.items() if name and not any(word in name for word in _NO_APP)}
    return max(apps or packages, key=lambda name: packages[name])


def split_files(path: Path) -> dict[str, Path]:
    """Return the split file of the data set, if it is there."""
    file = path / "splits.json"
    return {"splits": file} if file.is_file() else {}


ANDROID_CONTROL = Source(
    name="android_control",
    title="AndroidControl",
    url="https://github.com/google-research/google-research/tree/master/android_control",
    licence="cc-by-4.0",
    holds="android_control-*-of-* (GZIP TFRecords), splits.json, test_subsplits.json",
    recognises=recognises,
    episodes=read_episodes,
    split_files=split_files,
)
