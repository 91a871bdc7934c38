"""Episodes as folders with NAME/NAME.json, a list of steps, and their images: the layout of AITZ and CAGUI."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from data_pipelines.sources.aitw_actions import read_action
from data_pipelines.sources.drafts import Draft, DraftStep, Episode, clip, in_step, read_screen, smallest_box
from mobile_r1_jax.agent.actions import Click, LongPress, Terminate
from mobile_r1_jax.agent.json_fields import BrokenError, check_numbers, check_type, get_field, parse_json
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.agent.trajectory import Element, Ending

ReadStep = Callable[[Mapping[str, Any], Screenshot], DraftStep]


def episode_files(path: Path) -> Iterator[Path]:
    """Yield the files NAME/NAME.json below a directory, in no order."""
    return (file for file in path.rglob("*.json") if file.stem == file.parent.name) if path.is_dir() else iter(())


def first_step(path: Path) -> frozenset[str]:
    """Return the keys of a step of an episode below a directory; empty if there is none."""
    try:
        steps = parse_json(next(episode_files(path)).read_bytes(), list, "it")
        return frozenset(check_type(steps[0], dict, "step"))
    except (StopIteration, IndexError, BrokenError, OSError):
        return frozenset()


def read_episodes(path: Path, read_step: ReadStep, split: Callable[[Path], str]) -> Iterator[Episode]:
    """Stream the episodes below a directory, by their names; split: of the folder of the episode's subset."""
    files = sorted(episode_files(path))
    for number, file in enumerate(files, 1):
        load = partial(read_episode, file, read_step, split)
        yield Episode(f"{file.relative_to(path)}:1", number / len(files), load)


def read_episode(file: Path, read_step: ReadStep, split: Callable[[Path], str]) -> Draft:
    """Return the episode of a file. Raise BrokenError."""
    records = [check_type(record, dict, "step") for record in parse_json(file.read_bytes(), list, "the file")]
    if not records:
        raise BrokenError("no action")
    records.sort(key=lambda record: get_field(record, "step_id", int))
    numbers, length = [record["step_id"] for record in records], get_field(records[0], "episode_length", int)
    if numbers != list(range(length)):
        raise BrokenError(f"an episode of {length} steps; found: {numbers}")
    tasks = {get_field(record, "instruction", str) for record in records}
    if len(tasks) > 1:
        raise BrokenError(f"its steps have {len(tasks)} different instructions")
    steps = []
    for index, record in enumerate(records):
        with in_step(index):
            name = Path(get_field(record, "image_path", str)).name
            steps.append(read_step(record, read_screen(file.parent / name)))
    gave_up = any(step.action == Terminate("failure") for step in steps)
    subset = file.parent.parent
    return Draft(
        task=tasks.pop(),
        app="",
        steps=tuple(steps),
        name=str(records[0].get("episode_id", file.stem)),
        split=split(subset),
        subsets=(subset.name,),
        ending=Ending.GAVE_UP if gave_up else Ending.SUCCESS,
    )


def make_step(
    record: Mapping[str, Any],
    screenshot: Screenshot,
    elements: tuple[Element, ...],
    *,
    thought: str = "",
    sentence: str = "",
    milliseconds: float = 0,
    more: bool = False,
) -> DraftStep:
    """Return a step with the action of its record; the box is the smallest element at the touched point."""
    action = read_action(
        get_field(record, "result_action_type", int),
        get_field(record, "result_action_text", str, ""),
        read_point(record, "result_touch_yx"),
        read_point(record, "result_lift_yx"),
        screenshot,
        milliseconds=milliseconds,
        more=more,
    )
    at = action.point if isinstance(action, (Click, LongPress)) else None
    box = smallest_box(elements, at.x, at.y) if at else None
    return DraftStep(screenshot, action, thought, sentence, box, elements)


def read_list(record: Mapping[str, Any], key: str) -> list[Any]:
    """Return a field that is a string of a JSON list, or the list itself. Raise BrokenError."""
    value = record.get(key, [])
    return parse_json(value, list, key) if isinstance(value, str) else check_type(value, list, key)


def read_point(record: Mapping[str, Any], key: str) -> list[float]:
    """Return a point (y, x) as `read_list` does; [] if it is absent."""
    values = read_list(record, key)
    return check_numbers(values, 2, key) if values else values


def read_elements(
    record: Mapping[str, Any], screenshot: Screenshot, scale: tuple[float, float], texts: list[Any]
) -> tuple[Element, ...]:
    """Return the boxes [y, x, height, width] of `ui_positions` as elements.

    scale: pixels for one unit of x and of y. texts: one for each box, or none at all. Raise BrokenError.
    """
    boxes = read_list(record, "ui_positions")
    if texts and len(texts) != len(boxes):
        raise BrokenError(f"{len(texts)} texts for {len(boxes)} boxes")
    elements = []
    for index, box in enumerate(boxes):
        y, x, height, width = check_numbers(box, 4, "a box of ui_positions")
        across, down = scale
        if clipped := clip(x * across, y * down, (x + width) * across, (y + height) * down, screenshot):
            text = texts[index] if texts and isinstance(texts[index], str) else ""
            elements.append(Element(clipped, text))
    return tuple(elements)
