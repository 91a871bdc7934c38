"""AITZ, CAGUI and GUI-Odyssey: JSON files and images, written by the tables of their formats."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from encoded import picture

from data_pipelines.sources import SOURCES
from mobile_r1_jax.agent.actions import (
    Action,
    Click,
    Key,
    LongPress,
    Malformed,
    Swipe,
    SystemButton,
    Terminate,
    Type,
    Wait,
)
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.agent.responses import Response, parse_response
from mobile_r1_jax.agent.trajectory import Element, Ending, Trajectory

FRAME = Frame("screenshot", 54, 120)
UNUSED = "[-1.0, -1.0]"


def at(x: int, y: int) -> Point:
    return Point(x, y, FRAME)


def aitz_step(index: int, length: int, number: int, **changes: object) -> dict[str, object]:
    return {
        "episode_id": "523638528775825151",
        "episode_length": length,
        "step_id": index,
        "instruction": "open the clock",
        "ui_positions": "[[24, 27, 30, 13], [0, 0, 120, 54]]",
        "ui_text": '["Clock", ""]',
        "ui_types": '["TEXT", "ICON_HOME"]',
        "result_action_type": number,
        "result_action_text": "",
        "result_touch_yx": UNUSED,
        "result_lift_yx": UNUSED,
        "image_path": f"general/GENERAL-1/GENERAL-1_{index}.png",
        "image_full_path": "/old/place.png",
        "coat_screen_desc": "a screen",
        "coat_action_think": f"think {index}",
        "coat_action_desc": f"do {index}",
        "coat_action_result": "a result",
        **changes,
    }


def cagui_step(index: int, length: int, number: int, **changes: object) -> dict[str, object]:
    return {
        "episode_id": "domestic_1",
        "step_id": index,
        "episode_length": length,
        "image_width": 540,
        "image_height": 1200,
        "image_path": f"domestic/1/1_{index}.jpeg",
        "instruction": "打开闹钟",
        "low_instruction": f"第 {index} 步",
        "subset": "domestic",
        "result_action_type": number,
        "result_action_text": "",
        "result_touch_yx": UNUSED,
        "result_lift_yx": UNUSED,
        "ui_positions": "[[0.2, 0.5, 0.25, 0.25], [0, 0, 1, 1]]",
        "duration": None,
        **changes,
    }


def episode(folder: Path, steps: object, kind: str = "PNG", ending: str = "png") -> Path:
    """Write folder/NAME.json and an image for each step."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(len(steps) if isinstance(steps, list) else 0):
        (folder / f"{folder.name}_{index}.{ending}").write_bytes(picture((54, 120), index, kind))
    (folder / f"{folder.name}.json").write_text(steps if isinstance(steps, str) else json.dumps(steps))
    return folder


def responses(one: Trajectory | Malformed) -> list[Response]:
    assert isinstance(one, Trajectory), one
    return [parse_response(turn.response, FRAME) for turn in one.turns]


def touched(touch: list[float], lift: list[float] | None = None) -> dict[str, str]:
    return {"result_touch_yx": json.dumps(touch), "result_lift_yx": json.dumps(lift or touch)}


AITZ_STEPS: list[tuple[int, dict, Action]] = [
    (4, touched([0.3, 0.6]), Click(at(32, 36))),
    (4, touched([0.8, 0.5], [0.2, 0.5]), Swipe(at(27, 96), at(27, 24))),
    (3, {"result_action_text": "alarm"}, Type("alarm")),
    (5, {}, SystemButton("Back")),
    (6, {}, SystemButton("Home")),
    (7, {}, SystemButton("Enter")),
    (10, {}, Terminate("success")),
]


def test_aitz_gives_thoughts_sentences_pixel_boxes_and_splits_by_folder(tmp_path: Path) -> None:
    count = len(AITZ_STEPS)
    steps = [aitz_step(index, count, number, **more) for index, (number, more, _) in enumerate(AITZ_STEPS)]
    episode(tmp_path / "test" / "general" / "GENERAL-1", steps[::-1])
    single = episode(tmp_path / "train" / "single" / "SINGLE-2", [aitz_step(0, 1, 11)])
    (single / "SINGLE-2_0.png").rename(single / "GENERAL-1_0.png")
    first, second = SOURCES["aitz"].read(tmp_path)
    read = responses(first)
    assert [one.action for one in read] == [action for *_, action in AITZ_STEPS]
    assert [(one.thought, one.sentence) for one in read] == [(f"think {n}", f"do {n}") for n in range(count)]
    assert first.turns[0].bbox == (27, 24, 40, 54) and first.turns[0].elements[0] == Element((27, 24, 40, 54), "Clock")
    assert (first.origin, first.task, first.subsets) == (
        "test/general/GENERAL-1/GENERAL-1.json:1",
        "open the clock",
        ("general",),
    )
    assert second.ending is Ending.GAVE_UP and second.subsets == ("single",)
    assert [one.load().split for one in SOURCES["aitz"].episodes(tmp_path)] == ["test", "train"]
    assert [one.load().split for one in SOURCES["aitz"].episodes(tmp_path / "test")] == ["test"]


CAGUI_STEPS: list[tuple[int, dict, Action]] = [
    (4, touched([0.3, 0.6]), Click(at(32, 36))),
    (0, touched([0.3, 0.6]) | {"duration": 1500}, LongPress(at(32, 36), 1.5)),
    (0, touched([0.3, 0.6]), LongPress(at(32, 36), 1)),
    (1, {}, Wait(2)),
    (1, {"duration": 3000}, Wait(3.0)),
    (3, {"result_action_text": "闹钟"}, Type("闹钟")),
    (10, {}, Terminate("success")),
]


def test_cagui_gives_sentences_relative_boxes_and_jpeg_images(tmp_path: Path) -> None:
    count = len(CAGUI_STEPS)
    steps = [cagui_step(index, count, number, **more) for index, (number, more, _) in enumerate(CAGUI_STEPS)]
    episode(tmp_path / "CAGUI_agent" / "domestic" / "1", steps, "JPEG", "jpeg")
    [one] = SOURCES["cagui"].read(tmp_path)
    read = responses(one)
    assert [one.action for one in read] == [action for *_, action in CAGUI_STEPS]
    assert [(one.thought, one.sentence) for one in read] == [("", f"第 {n} 步") for n in range(count)]
    assert [turn.bbox for turn in one.turns[:3]] == [(27, 24, 40, 54)] * 3 and one.turns[3].bbox is None
    assert (one.app, one.subsets) == ("", ("domestic",))
    assert [one.load().split for one in SOURCES["cagui"].episodes(tmp_path)] == ["test"]


BROKEN_STEPS = [
    ({"result_action_type": 9}, "step 1: action type 9 has no meaning"),
    ({"result_action_type": "4"}, "step 1: result_action_type must be int"),
    ({"result_action_type": 4, "result_touch_yx": "[0.5"}, "step 1: result_touch_yx is not JSON"),
    ({"result_action_type": 4}, "step 1: a touch at (y, x) = (-1.0, -1.0)"),
    ({"result_action_type": 4, **touched([0.5, 1.5])}, "step 1: a touch at"),
    ({"result_action_type": 4, **touched([0.5])}, "step 1: result_touch_yx must be 2 numbers"),
    ({"result_action_type": 4, "result_touch_yx": "[NaN, 0.5]"}, "step 1: a touch at"),
    ({"ui_positions": "[[1, 2, 3]]", "ui_text": "[]"}, "step 1: a box of ui_positions must be 4 numbers"),
    ({"ui_positions": "[[1, 2, 3, NaN]]", "ui_text": "[]"}, "step 1: a box of"),
    ({"ui_positions": '{"a": 1}'}, "step 1: ui_positions must be list"),
    ({"image_path": "general/gone.png"}, "step 1: image gone.png: No such file"),
    ({"image_path": "../../../../etc/passwd"}, "step 1: image passwd: No such file"),
    ({"image_path": 7}, "step 1: image_path must be str"),
    ({"step_id": 0}, "an episode of 2 steps; found: [0, 0]"),
    ({"step_id": None}, "step_id must be int"),
    ({"instruction": "something else"}, "2 different instructions"),
]


@pytest.mark.parametrize(("changes", "reason"), BROKEN_STEPS, ids=[reason for _, reason in BROKEN_STEPS])
@pytest.mark.parametrize("make", [aitz_step, cagui_step])
def test_broken_step_leaves_out_its_episode_and_is_reported(
    tmp_path: Path, changes: dict, reason: str, make: Callable[..., dict]
) -> None:
    name, kind, ending = ("GENERAL-1", "PNG", "png") if make is aitz_step else ("1", "JPEG", "jpeg")
    for folder, steps in (("a", [make(0, 1, 6)]), ("b", [make(0, 2, 6), {**make(1, 2, 6), **changes}])):
        episode(tmp_path / folder / name, steps, kind, ending)
    good, broken = SOURCES["aitz" if make is aitz_step else "cagui"].read(tmp_path)
    assert isinstance(good, Trajectory) and isinstance(broken, Malformed)
    assert broken.reason.startswith(f"b/{name}/{name}.json:1: ") and reason in broken.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("{}", "must be list"),
        ("[]", "no action"),
        ("[3]", "step must be dict"),
        ("[" * 99_999, "not JSON"),
    ],
)
def test_broken_file_is_reported_with_its_name(tmp_path: Path, text: str, reason: str) -> None:
    episode(tmp_path / "x" / "a", text)
    [broken] = SOURCES["aitz"].read(tmp_path)
    assert broken.reason.startswith("x/a/a.json:1: ") and reason in broken.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_width": 600}, "the picture is 54x120, but 600x1200 is declared"),
        ({"image_height": None}, "image_height must be int"),
        ({"duration": "long"}, "duration must be milliseconds"),
        ({"duration": -5}, "duration must be milliseconds"),
    ],
)
def test_impossible_frame_or_duration_of_cagui_is_reported(tmp_path: Path, changes: dict, reason: str) -> None:
    episode(tmp_path / "domestic" / "1", [cagui_step(0, 1, 6, **changes)], "JPEG", "jpeg")
    [broken] = SOURCES["cagui"].read(tmp_path)
    assert reason in broken.reason


def odyssey_step(index: int, action: str, info: object = "", **changes: object) -> dict[str, object]:
    return {
        "step": index,
        "screenshot": f"0001_{index}.png",
        "action": action,
        "info": info,
        "ps": "",
        "description": f"Screen {index}.",
        "intention": f"Intend {index}.",
        "context": "before",
        "low_level_instruction": f"Do {index}",
        "sam2_bbox": [],
        **changes,
    }


def odyssey(folder: Path, *steps: dict, name: str = "0001", **changes: object) -> Path:
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    (folder / "screenshots").mkdir(exist_ok=True)
    for index in range(len(steps)):
        (folder / "screenshots" / f"0001_{index}.png").write_bytes(picture((54, 120), index))
    record = {
        "episode_id": name,
        "device_info": {"h": 2400, "w": 1080, "device_name": "Pixel Fold", "product": "x", "sdk_version": 34},
        "task_info": {
            "category": "Multi_Apps",
            "app": ["Chrome", "TickTick"],
            "instruction": "Find and note",
            "task": "t",
        },
        "step_length": len(steps),
        "steps": steps,
    } | changes
    (folder / "annotations" / f"{name}.json").write_text(json.dumps(record))
    return folder


ODYSSEY_STEPS: list[tuple[str, object, Action]] = [
    ("CLICK", [[500, 250]], Click(at(27, 30))),
    ("CLICK", [[1000, 1000]], Click(at(53, 119))),
    ("CLICK", "KEY_HOME", SystemButton("Home")),
    ("CLICK", "KEY_BACK", SystemButton("Back")),
    ("CLICK", "KEY_APPSELECT", Key("app_switch")),
    ("LONG_PRESS", [[500, 250]], LongPress(at(27, 30), 1)),
    ("SCROLL", [[500, 800], [500, 200]], Swipe(at(27, 96), at(27, 24))),
    ("TYPE", "10:30", Type("10:30")),
    ("TEXT", "10:30", Type("10:30")),
    ("HOME", "", SystemButton("Home")),
    ("COMPLETE", "", Terminate("success")),
]


@pytest.mark.parametrize("folder", ["data", "."])
def test_odyssey_gives_coordinates_per_thousand_and_semantic_fields(tmp_path: Path, folder: str) -> None:
    steps = [odyssey_step(index, kind, info) for index, (kind, info, _) in enumerate(ODYSSEY_STEPS)]
    steps[0]["sam2_bbox"] = [400, 200, 600, 300.5]
    odyssey(tmp_path / folder, *steps)
    [one] = SOURCES["gui_odyssey"].read(tmp_path)
    read = responses(one)
    assert [one.action for one in read] == [action for *_, action in ODYSSEY_STEPS]
    assert (read[3].thought, read[3].sentence) == ("Screen 3. Intend 3.", "Do 3")
    assert one.turns[0].bbox == (22, 24, 32, 36) and one.turns[1].bbox is None
    assert (one.task, one.app, one.subsets) == ("Find and note", "Chrome, TickTick", ("Multi_Apps", "Pixel Fold"))
    assert one.origin.endswith("annotations/0001.json:1") and one.ending is Ending.SUCCESS


def test_first_release_of_odyssey_has_no_semantic_fields(tmp_path: Path) -> None:
    step = odyssey_step(0, "IMPOSSIBLE")
    for key in ("description", "intention", "context", "low_level_instruction", "sam2_bbox"):
        del step[key]
    odyssey(tmp_path, step)
    [one] = SOURCES["gui_odyssey"].read(tmp_path)
    [response] = responses(one)
    assert response == Response("", "", Terminate("failure")) and one.ending is Ending.GAVE_UP


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (odyssey_step(1, "SPIN"), "action 'SPIN' has no counterpart"),
        (odyssey_step(1, "CLICK", "KEY_POWER"), "CLICK on 'KEY_POWER'"),
        (odyssey_step(1, "CLICK", [[1, 2], [3, 4]]), "CLICK with 2 points"),
        (odyssey_step(1, "SCROLL", [[1, 2]]), "SCROLL with 1 points"),
        (odyssey_step(1, "CLICK", [[1]]), "a point must be 2 numbers"),
        (odyssey_step(1, "CLICK", [[1001, 5]]), "a touch at"),
        (odyssey_step(1, "CLICK", 7), "info must be list"),
        (odyssey_step(1, "TYPE", None), "info must be str"),
        (odyssey_step(1, "CLICK", [[1, 2]], sam2_bbox=[1, 2]), "sam2_bbox must be 4 numbers"),
        (odyssey_step(1, "CLICK", [[1, 2]], sam2_bbox=[600, 2, 500, 9]), "sam2_bbox [600, 2, 500, 9] is empty"),
        (odyssey_step(1, "BACK", screenshot="gone.png"), "image gone.png: No such file"),
        (odyssey_step(2, "BACK"), "its number is 2"),
    ],
)
def test_broken_step_of_odyssey_is_reported(tmp_path: Path, step: dict, reason: str) -> None:
    odyssey(tmp_path, odyssey_step(0, "BACK"), step)
    [broken] = SOURCES["gui_odyssey"].read(tmp_path)
    assert broken.reason.startswith("annotations/0001.json:1: step 1: ") and reason in broken.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"step_length": 5}, "step_length is 5 but there are 1 steps"),
        ({"task_info": None}, "task_info must be dict"),
        ({"task_info": {"app": []}}, "instruction is missing"),
        ({"steps": [], "step_length": 0}, "no action"),
    ],
)
def test_broken_annotation_of_odyssey_is_reported(tmp_path: Path, changes: dict, reason: str) -> None:
    odyssey(tmp_path, odyssey_step(0, "BACK"), **changes)
    [broken] = SOURCES["gui_odyssey"].read(tmp_path)
    assert broken.reason.startswith("annotations/0001.json:1: ") and reason in broken.reason
