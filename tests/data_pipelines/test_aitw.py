"""AITW is read from bytes encoded by the table of its format."""

import math
from pathlib import Path

import pytest
from encoded import aitw, bytes_feature, float_feature, int_feature, picture, write_records

from data_pipelines.sources import SOURCES
from data_pipelines.sources import aitw as aitw_module
from mobile_r1_jax.agent.actions import Click, Malformed, Swipe, SystemButton, Terminate, Type
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.agent.responses import parse_response
from mobile_r1_jax.agent.trajectory import Element, Ending, Trajectory

SOURCE = SOURCES["aitw"]
FRAME = Frame("screenshot", 54, 120)


def read(path: Path, *records: bytes) -> list[Trajectory | Malformed]:
    return list(SOURCE.read(write_records(path / "general-00000-of-00321", *records)))


def points(touch: tuple[float, float], lift: tuple[float, float]) -> dict[str, bytes]:
    """(y, x) of both ends."""
    return {"results_yx_touch": float_feature(*touch), "results_yx_lift": float_feature(*lift)}


STEPS = [
    (4, points((0.3, 0.6), (0.3, 0.6)), Click(Point(32, 36, FRAME))),
    (4, points((1, 1), (1, 0.97)), Click(Point(53, 119, FRAME))),  # the edge is the last pixel; 0.03 apart is a tap
    (4, points((0.8, 0.5), (0.2, 0.5)), Swipe(Point(27, 96, FRAME), Point(27, 24, FRAME))),  # the finger moves up
    (4, points((0.5, 0.2), (0.5, 0.25)), Swipe(Point(11, 60, FRAME), Point(14, 60, FRAME))),
    (3, {"results_type_action": bytes_feature("red; shoes")}, Type("red; shoes")),
    (5, {}, SystemButton("Back")),
    (6, {}, SystemButton("Home")),
    (7, {"results_type_action": None}, SystemButton("Enter")),
    (10, {}, Terminate("success")),
]


def test_steps_of_an_episode_become_a_trajectory(tmp_path: Path) -> None:
    records = [aitw("e", index, len(STEPS), number, **more) for index, (number, more, _) in enumerate(STEPS)]
    [one] = read(tmp_path, *records)
    assert isinstance(one, Trajectory), one
    assert (one.task, one.app, one.ending) == ("goal of e", "com.android.chrome", Ending.SUCCESS)
    assert one.origin == "general-00000-of-00321:1"
    read_actions = [parse_response(turn.response, FRAME) for turn in one.turns]
    assert [response.action for response in read_actions] == [action for *_, action in STEPS]
    assert {(response.thought, response.sentence) for response in read_actions} == {("", "")}
    for index, turn in enumerate(one.turns):
        image = turn.screenshot.image()
        assert image.size == (54, 120) and image.getpixel((53, 119)) == (index, 2, 3)
    elements = (Element((27, 30, 40, 60), "Search"), Element((0, 0, 53, 119), "ICON_HOME"))
    assert one.turns[0].elements == elements and one.turns[0].bbox == (27, 30, 40, 60)
    assert one.turns[1].bbox == (0, 0, 53, 119) and one.turns[2].bbox is None


def test_impossible_task_ends_with_terminate_failure(tmp_path: Path) -> None:
    [one] = read(tmp_path, aitw("e", 0, 1, 11))
    assert one.ending is Ending.GAVE_UP and '"failure"' in one.turns[0].response


def test_shuffled_and_interleaved_steps_are_assembled(tmp_path: Path) -> None:
    steps = [("a", 1, 2), ("b", 2, 3), ("a", 0, 2), ("c", 0, 1), ("b", 0, 3), ("b", 1, 3)]
    found = read(tmp_path, *(aitw(name, step, length, 6) for name, step, length in steps))
    assert [one.task for one in found] == ["goal of a", "goal of c", "goal of b"]
    assert [turn.screenshot.image().getpixel((0, 0))[0] for turn in found[2].turns] == [0, 1, 2]


def test_episode_id_may_be_a_number(tmp_path: Path) -> None:
    number = {"episode_id": int_feature(7)}
    found = read(tmp_path, aitw("a", 0, 2, 6, **number), aitw("b", 0, 1, 6), aitw("a", 1, 2, 6, **number))
    assert [len(one.turns) for one in found] == [1, 2]


def test_episode_continues_in_the_next_file(tmp_path: Path) -> None:
    write_records(tmp_path / "general" / "general-00000-of-00002", aitw("a", 0, 2, 6))
    write_records(tmp_path / "general" / "general-00001-of-00002", aitw("a", 1, 2, 6), aitw("b", 0, 1, 6))
    assert [len(one.turns) for one in SOURCE.read(tmp_path)] == [2, 1]


@pytest.mark.parametrize("pixel", [(9,), (5, 6, 7, 255)])
def test_images_with_other_channel_counts_are_read(tmp_path: Path, pixel: tuple[int, ...]) -> None:
    pixels = bytes_feature(bytes(pixel) * (54 * 120))
    [one] = read(tmp_path, aitw("a", 0, 1, 6, image_channels=int_feature(len(pixel)), image_encoded=pixels))
    assert one.turns[0].screenshot.image().getpixel((3, 3)) == (pixel * 3)[:3]


BROKEN = [
    (aitw("x", 0, 2, 6), "an episode of 2 steps; found: [0]"),
    (aitw("x", 1, 1, 6), "an episode of 1 steps; found: [1]"),
    (aitw("x", 0, 1, 2), "step 0: action type 2 has no meaning"),
    (aitw("x", 0, 1, 0), "step 0: action type 0 has no meaning"),
    (aitw("x", 0, 1, 4), "step 0: a touch at (y, x) = (-1.0, -1.0)"),
    (aitw("x", 0, 1, 4, **points((0.5, 1.5), (0.5, 1.5))), "step 0: a touch at"),
    (aitw("x", 0, 1, 4, **points((0.5, math.nan), (0.5, 0.5))), "step 0: a touch at"),
    (aitw("x", 0, 1, 4, results_yx_touch=float_feature(0.5)), "step 0: a touch at"),
    (aitw("x", 0, 1, 4, results_yx_touch=None), "step 0: a touch at"),
    (aitw("x", 0, 1, 3, results_type_action=bytes_feature(b"\xff")), "step 0: results/type_action is not UTF-8"),
    (aitw("x", 0, 1, 6, image_encoded=bytes_feature(picture((54, 120)))), "bytes of pixels for a picture of 54x120x3"),
    (aitw("x", 0, 1, 6, image_encoded=bytes_feature(bytes(54 * 120 * 3 - 1))), "step 0: 19439 bytes of pixels"),
    (aitw("x", 0, 1, 6, image_channels=int_feature(2)), "step 0: 19440 bytes of pixels"),
    (aitw("x", 0, 1, 6, image_height=int_feature(-120)), "step 0: screenshot of 54x-120 pixels is not a screen"),
    (aitw("x", 0, 1, 6, image_width=int_feature(1 << 40)), "is not a screen"),
    (aitw("x", 0, 1, 6, image_width=None), "step 0: image/width must have one value"),
    (aitw("x", 0, 1, 6, image_ui_annotations_positions=float_feature(0, 0, 1)), "3 numbers of boxes for 2 texts"),
    (aitw("x", 0, 1, 6, image_ui_annotations_text=bytes_feature("a")), "8 numbers of boxes for 1 texts and 2 types"),
    (aitw("x", 0, 1, 6, image_ui_annotations_positions=float_feature(*[math.inf] * 8)), "step 0: a box of"),
    (aitw("x", 0, 1, 6, goal_info=None), "goal_info must have one value, has 0"),
    (aitw("x", 0, 1, 6, episode_id=float_feature(1)), "episode_id must be a list of int"),
    (aitw("x", 0, 1, 6, episode_id=int_feature(1, 2)), "episode_id must have one value, has 2"),
    (aitw("x", 0, 1, 6, step_id=None), "step_id must have one value"),
    (b"\x0a\x05ab", "the record cannot be decoded"),
]


@pytest.mark.parametrize(("record", "reason"), BROKEN, ids=[reason for _, reason in BROKEN])
def test_broken_episode_is_reported_and_the_others_are_read(tmp_path: Path, record: bytes, reason: str) -> None:
    found = read(tmp_path, aitw("a", 0, 1, 6), record, aitw("b", 0, 1, 6))
    [broken] = [one for one in found if isinstance(one, Malformed)]
    assert broken.reason.startswith("general-00000-of-00321:2: ") and reason in broken.reason
    assert [one.task for one in found if isinstance(one, Trajectory)] == ["goal of a", "goal of b"]


def test_an_episode_with_two_goals_is_broken(tmp_path: Path) -> None:
    [one] = read(tmp_path, aitw("a", 0, 2, 6), aitw("a", 1, 2, 6, goal_info=bytes_feature("other")))
    assert "2 different goals" in one.reason


def test_duplicate_step_does_not_replace_a_missing_step(tmp_path: Path) -> None:
    found = read(tmp_path, aitw("a", 0, 2, 6), aitw("a", 0, 2, 6), aitw("a", 1, 2, 6))
    assert ["found: [0, 0]" in found[0].reason, "found: [1]" in found[1].reason] == [True, True]


def test_incomplete_episodes_use_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aitw_module, "_OPEN", 100_000)  # five steps
    records = [aitw(f"{number}", 0, 2, 6) for number in range(20)]
    episodes = SOURCE.episodes(write_records(tmp_path / "a-00000-of-00001", *records, aitw("19", 1, 2, 6)))
    loads = [episode.load.args[0] for episode in episodes]
    assert max(map(len, loads)) == 2 and len(loads) == 20
    found = list(SOURCE.read(tmp_path))
    assert sum(isinstance(one, Trajectory) for one in found) == 1
