"""GUI-Odyssey: one JSON file an episode, with coordinates from 0 to 1000; both releases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from data_pipelines.sources.aitw_actions import to_point
from data_pipelines.sources.drafts import Draft, DraftStep, Episode, Source, clip, in_step, read_screen
from mobile_r1_jax.agent.actions import Action, Click, Key, LongPress, Swipe, SystemButton, Terminate, Type
from mobile_r1_jax.agent.frames import Point
from mobile_r1_jax.agent.json_fields import BrokenError, check_numbers, check_type, get_field, parse_json
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.agent.trajectory import Ending

_UNITS = 1000
_HOLD = 1  # seconds; the data has none [ours]
_KEYS = {"KEY_HOME": SystemButton("Home"), "KEY_BACK": SystemButton("Back"), "KEY_APPSELECT": Key("app_switch")}
# The names of the documentation, of the converter and of the first release.
_PLAIN = {
    "COMPLETE": Terminate("success"),
    "INCOMPLETE": Terminate("failure"),
    "IMPOSSIBLE": Terminate("failure"),
    "HOME": SystemButton("Home"),
    "BACK": SystemButton("Back"),
}


def recognises(path: Path) -> bool:
    """Return whether a directory has annotations of GUI-Odyssey."""
    try:
        first = next(_data(path).joinpath("annotations").glob("*.json"))
        return {"device_info", "task_info", "steps"} <= parse_json(first.read_bytes(), dict, "it").keys()
    except (StopIteration, BrokenError, OSError):
        return False


def read_episodes(path: Path) -> Iterator[Episode]:
    """Stream the episodes of a directory, or of its folder data, by their file names."""
    data = _data(path)
    files = sorted(data.joinpath("annotations").glob("*.json"))
    for number, file in enumerate(files, 1):
        load = partial(read_episode, file, data / "screenshots")
        yield Episode(f"{file.relative_to(path)}:1", number / len(files), load)


def read_episode(file: Path, pictures: Path) -> Draft:
    """Return the episode of an annotation file. Raise BrokenError."""
    record = parse_json(file.read_bytes(), dict, "the file")
    info, device = get_field(record, "task_info", dict), get_field(record, "device_info", dict, {})
    records = get_field(record, "steps", list)
    if get_field(record, "step_length", int) != len(records):
        raise BrokenError(f"step_length is {record['step_length']} but there are {len(records)} steps")
    steps = []
    for index, step in enumerate(records):
        with in_step(index):
            if get_field(check_type(step, dict, "step"), "step", int) != index:
                raise BrokenError(f"its number is {step['step']}")
            steps.append(read_step(step, read_screen(pictures / Path(get_field(step, "screenshot", str)).name)))
    gave_up = any(step.action == Terminate("failure") for step in steps)
    apps = info.get("app", [])
    return Draft(
        task=get_field(info, "instruction", str),
        app=", ".join(check_type(app, str, "app") for app in (apps if isinstance(apps, list) else [apps])),
        steps=tuple(steps),
        name=file.name,
        subsets=tuple(filter(None, (get_field(info, "category", str, ""), get_field(device, "device_name", str, "")))),
        ending=Ending.GAVE_UP if gave_up else Ending.SUCCESS,
    )


def read_step(record: Mapping[str, Any], screenshot: Screenshot) -> DraftStep:
    """Return a step. Raise BrokenError."""
    action, box = read_action(record, screenshot), None
    if sides := record.get("sam2_bbox"):
        left, top, right, bottom = (side / _UNITS for side in check_numbers(sides, 4, "sam2_bbox"))
        width, height = screenshot.width, screenshot.height
        box = clip(left * width, top * height, right * width, bottom * height, screenshot)
        if box is None:
            raise BrokenError(f"sam2_bbox {sides} is empty or is outside the screen")
    words = [get_field(record, key, str, "").strip() for key in ("description", "intention")]
    return DraftStep(
        screenshot,
        action,
        thought=" ".join(word for word in words if word),
        sentence=get_field(record, "low_level_instruction", str, ""),
        bbox=box,
    )


def read_action(record: Mapping[str, Any], screenshot: Screenshot) -> Action:
    """Return the action of a step. Raise BrokenError for an unknown one, and for a point off the screen."""
    kind, info = get_field(record, "action", str), record.get("info")
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind in ("CLICK", "LONG_PRESS") and isinstance(info, str):
        if info not in _KEYS:
            raise BrokenError(f"{kind} on {info!r}, which is none of {', '.join(_KEYS)}")
        return _KEYS[info]
    if kind in ("TYPE", "TEXT"):
        return Type(check_type(info, str, "info"))
    if kind not in ("CLICK", "LONG_PRESS", "SCROLL"):
        raise BrokenError(f"action {kind!r} has no counterpart in mobile_use")
    points = check_type(info, list, "info")
    if len(points) != (2 if kind == "SCROLL" else 1):
        raise BrokenError(f"{kind} with {len(points)} points")
    ends = [_point(point, screenshot) for point in points]
    if kind == "SCROLL":
        return Swipe(*ends)
    return Click(ends[0]) if kind == "CLICK" else LongPress(ends[0], _HOLD)


def split_files(path: Path) -> dict[str, Path]:
    """Return the split files, the random split first."""
    names = ("random", "app", "device", "task")
    files = {name: _data(path) / "splits" / f"{name}_split.json" for name in names}
    return {name: file for name, file in files.items() if file.is_file()}


def _data(path: Path) -> Path:
    return path / "data" if (path / "data" / "annotations").is_dir() else path


def _point(value: Any, screenshot: Screenshot) -> Point:
    x, y = check_numbers(value, 2, "a point")
    return to_point((y / _UNITS, x / _UNITS), screenshot)


GUI_ODYSSEY = Source(
    name="gui_odyssey",
    title="GUI-Odyssey",
    url="https://huggingface.co/datasets/hflqf88888/GUIOdyssey",
    licence="cc-by-4.0",
    holds="annotations/*.json, screenshots/*.png, splits/*.json, all of them possibly in data/",
    recognises=recognises,
    episodes=read_episodes,
    split_files=split_files,
)
