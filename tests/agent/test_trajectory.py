"""Trajectories on disk: the published schema, added fields, and broken lines."""

import io
import json
import resource
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.completion import Completion
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.agent.trajectory import (
    Element,
    Ending,
    Trajectory,
    Turn,
    read_trajectories,
    trajectory_from_json,
    trajectory_to_json,
    write_trajectories,
)

CALL = '{"name": "mobile_use", "arguments": {"action": "click", "coordinate": [14, 42]}}'
RESPONSE = f"<think>商店</think><action>点购物车</action><tool_call>{CALL}</tool_call>"


def screenshot(color: int = 0) -> Screenshot:
    file = io.BytesIO()
    Image.new("L", (28, 56), color).save(file, "PNG")
    return Screenshot(file.getvalue())


ROLLOUT = Trajectory(
    task="买苹果",
    app="商店",
    system="你操作手机。买苹果",
    turns=(
        Turn(screenshot(0), RESPONSE, Completion((5, 6, 7), (-0.5, -1.25, 0.0)), (1, 2, 30, 40), "tapped"),
        Turn(screenshot(9), "no tags at all", Completion((8,), (-2.0,), (-1.5,))),
        Turn(screenshot(0), RESPONSE),
    ),
    ending=Ending.OUT_OF_STEPS,
    scores={"task": 0.25, "format": -1 / 3},
    task_id="0123456789abcdef",
)


def published(**changes: object) -> dict[str, object]:
    """Return a line of the published data; `step` changes its only step."""
    step = {"image": "a.png", "thought": "商店", "subtask": "点购物车", "action": CALL, "response": RESPONSE}
    step |= changes.pop("step", {})
    line = {"app_name": "商店", "trajectory_length": 1, "instruction": "买苹果", "system": "你操作手机"}
    return {**line, "image_width": 28, "image_height": 56, "trajectory": [step], **changes}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(screenshot().png)
    return tmp_path / "images"


def test_rollout_survives_writing_and_reading(tmp_path: Path) -> None:
    write_trajectories(tmp_path, [ROLLOUT])
    assert list(read_trajectories(tmp_path)) == [(1, ROLLOUT)]


def test_each_screenshot_is_stored_once_and_lines_are_appended(tmp_path: Path) -> None:
    write_trajectories(tmp_path, [ROLLOUT, ROLLOUT])
    write_trajectories(tmp_path, [ROLLOUT])
    assert len(list(read_trajectories(tmp_path))) == 3
    assert {path.name for path in (tmp_path / "images").iterdir()} == {
        f"{screenshot(0).sha}.png",
        f"{screenshot(9).sha}.png",
    }


def test_line_cut_by_a_kill_does_not_damage_the_next_line(tmp_path: Path) -> None:
    write_trajectories(tmp_path, [ROLLOUT])
    whole = (tmp_path / "data.jsonl").read_bytes()
    (tmp_path / "data.jsonl").write_bytes(whole + whole[:99])
    write_trajectories(tmp_path, [ROLLOUT])
    assert (tmp_path / "data.jsonl").read_bytes() == whole * 2


def test_unwritable_image_error_names_it_and_leaves_no_line_and_no_draft(tmp_path: Path) -> None:
    write_trajectories(tmp_path, [])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*images.*\.png'"):
            write_trajectories(tmp_path, [ROLLOUT])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.rglob("*")] == ["images"]


def test_a_written_line_has_every_published_field(tmp_path: Path) -> None:
    line = json.loads(trajectory_to_json(ROLLOUT))
    first, garbage, _ = line.pop("trajectory")
    extra = {"ending": "out_of_steps", "scores": {"task": 0.25, "format": -1 / 3}, "task_id": "0123456789abcdef"}
    assert line == {
        "app_name": "商店",
        "trajectory_length": 3,
        "instruction": "买苹果",
        "system": "你操作手机。买苹果",
        "image_width": 28,
        "image_height": 56,
        **extra,
    }
    assert first["thought"] == "商店" and first["subtask"] == "点购物车"
    assert first["action"] == CALL and first["response"] == RESPONSE
    assert garbage["response"] == "no tags at all" and garbage["action"] == garbage["thought"] == ""


def test_a_published_line_is_an_annotation_that_succeeded(images: Path) -> None:
    trajectory = trajectory_from_json(json.dumps(published()), images)
    assert trajectory == Trajectory("买苹果", "商店", "你操作手机", (Turn(screenshot(), RESPONSE),), Ending.SUCCESS, {})


@pytest.mark.parametrize("foreign", [7, None, ["a"], "\ud800"])
def test_task_id_of_another_type_breaks_no_line(images: Path, foreign: object) -> None:
    trajectory = trajectory_from_json(json.dumps(published(task_id=foreign)), images)
    assert trajectory == trajectory_from_json(json.dumps(published()), images) and trajectory.task_id == ""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "line must be dict"),
        (published(trajectory=[], trajectory_length=0), "trajectory is empty"),
        (published(trajectory_length=2), "trajectory_length is 2 but there are 1 steps"),
        (published(trajectory="x"), "trajectory must be list"),
        (published(image_width=0), "image_width must be above 0"),
        (published(image_height=True), "image_height must be int"),
        (published(instruction=None), "instruction must be str"),
        (published(system="\ud800"), "system is not valid Unicode"),
        (published(ending="won"), "ending must be one of"),
        (published(ending=["success"]), "ending must be one of"),
        (published(scores={"task": float("nan")}), "scores must be finite"),
        (published(scores=[1]), "scores must be dict"),
        (published(trajectory=[5]), "step 0: step must be dict"),
        (published(step={"response": None}), "step 0: response must be str"),
        (published(step={"image": "b.png"}), "step 0: image b.png: No such file"),
        (published(step={"image": "../a.png"}), "step 0: image must be a plain file name"),
        (published(step={"image": ""}), "step 0: image must be a plain file name"),
        (published(step={"bbox": [1, 2, 3]}), "step 0: bbox must be"),
        (published(step={"bbox": [5, 2, 3, 4]}), "step 0: bbox must be"),
        (published(step={"bbox": [5, 2, 3, 10**12]}), "step 0: bbox must be"),
        (published(step={"response_ids": [1.5]}), "step 0: response_ids must be token ids"),
        (published(step={"response_ids": [1], "logps": [-1, -2]}), "step 0: 2 logps for 1 response_ids"),
        (published(step={"logps": ["x"], "response_ids": [1]}), "step 0: logps must be finite"),
    ],
)
def test_broken_lines_return_a_reason_and_never_raise(images: Path, line: object, reason: str) -> None:
    text = line if isinstance(line, str) else json.dumps(line)
    parsed = trajectory_from_json(text, images)
    assert isinstance(parsed, Malformed) and reason in parsed.reason


@pytest.mark.parametrize("key", ["app_name", "instruction", "trajectory", "image_width", "trajectory_length"])
def test_missing_field_is_named(images: Path, key: str) -> None:
    line = published()
    del line[key]
    parsed = trajectory_from_json(json.dumps(line), images)
    assert parsed == Malformed(f"{key} is missing")


def test_damaged_image_or_other_format_is_reported(images: Path) -> None:
    (images / "b.png").write_bytes(b"hello")
    damaged = bytearray(screenshot().png)
    damaged[45] ^= 255
    (images / "c.png").write_bytes(damaged)
    for name, reason in [("b.png", "no PNG"), ("c.png", "damaged")]:
        parsed = trajectory_from_json(json.dumps(published(step={"image": name})), images)
        assert isinstance(parsed, Malformed) and f"image {name}" in parsed.reason and reason in parsed.reason


def sized(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("declared", "picture", "frame"),
    [
        ((1080, 2400), (540, 1200), (1080, 2400)),
        ((540, 1200), (1080, 2400), (540, 1200)),
        ((1440, 3200), (333, 740), (1440, 3200)),  # rounded to whole pixels
        ((1080, 2400), (2400, 1080), (2400, 1080)),  # a turned phone
        ((1080, 2400), (1200, 540), (2400, 1080)),  # a turned phone's scaled copy
        ((540, 1200), (540, 1200), (540, 1200)),
    ],
)
def test_declared_size_is_the_frame_of_the_coordinates(images: Path, declared, picture, frame) -> None:
    (images / "a.png").write_bytes(sized(*picture))
    read = trajectory_from_json(json.dumps(published(image_width=declared[0], image_height=declared[1])), images)
    assert (read.turns[0].frame.width, read.turns[0].frame.height) == frame
    again = trajectory_from_json(trajectory_to_json(read).replace(read.turns[0].screenshot.sha, "a"), images)
    assert again.turns == read.turns


@pytest.mark.parametrize("picture", [(1080, 2340), (1080, 1080), (720, 1280), (1080, 2410)])
def test_image_with_another_aspect_ratio_than_declared_breaks_the_line(images: Path, picture: tuple[int, int]) -> None:
    (images / "a.png").write_bytes(sized(*picture))
    read = trajectory_from_json(json.dumps(published(image_width=1080, image_height=2400)), images)
    reason = f"step 0: the picture is {picture[0]}x{picture[1]}, but 1080x2400 is declared"
    assert isinstance(read, Malformed) and reason in read.reason


@pytest.mark.parametrize("size", [0, [1], [1, 2, 3], [0, 5], [1.5, 2], [20_000, 40_000]])
def test_impossible_size_of_a_step_is_reported(images: Path, size: object) -> None:
    read = trajectory_from_json(json.dumps(published(step={"size": size})), images)
    assert isinstance(read, Malformed) and read.reason.startswith("step 0: size must be")


def test_trajectory_with_screens_of_several_shapes_survives_writing_and_reading(tmp_path: Path) -> None:
    turns = tuple(Turn(Screenshot(sized(*size)), RESPONSE) for size in ((28, 56), (56, 28), (90, 90), (56, 112)))
    folded = Trajectory("t", "a", "s", (*turns, replace(turns[0], size=(56, 112))), Ending.SUCCESS)
    write_trajectories(tmp_path, [folded])
    assert list(read_trajectories(tmp_path)) == [(1, folded)]


def test_incomplete_pixels_break_the_line_and_known_images_are_decoded_once(images: Path) -> None:
    whole = screenshot().png
    start, content = whole.index(b"IDAT") - 4, b"IDAT" + zlib.compress(b"\0" * 29 * 20)  # 20 rows of 56
    chunk = (len(content) - 4).to_bytes(4, "big") + content + zlib.crc32(content).to_bytes(4, "big")
    short = Screenshot(whole[:start] + chunk + whole[-12:])
    (images / "short.png").write_bytes(short.png)
    lines = [json.dumps(line) for line in (published(), published(step={"image": "short.png"}), published())]
    (images.parent / "data.jsonl").write_text("\n".join(lines))
    first, second, third = (item for _, item in read_trajectories(images.parent))
    assert isinstance(first, Trajectory) and first == third
    reason = "step 0: image short.png: screenshot is damaged: 580 bytes of pixels, its size needs 1624"
    assert second == Malformed(reason)
    decoded: set[str] = set()
    assert isinstance(trajectory_from_json(lines[0], images, decoded), Trajectory) and decoded == {screenshot().sha}
    assert isinstance(trajectory_from_json(lines[1], images, {short.sha}), Trajectory)


def test_reading_continues_after_a_broken_line_and_counts_lines(images: Path) -> None:
    good = json.dumps(published()).encode()
    (images.parent / "data.jsonl").write_bytes(b"\n".join([good, b"\xff", b"", b"{", good]))
    read = list(read_trajectories(images.parent))
    assert [number for number, _ in read] == [1, 2, 4, 5]
    assert [isinstance(item, Malformed) for _, item in read] == [False, True, True, False]


def test_a_directory_without_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no data\.jsonl in"):
        list(read_trajectories(tmp_path))


def test_a_trajectory_without_turns_cannot_be_written(tmp_path: Path) -> None:
    empty = Trajectory("t", "a", "s", (), Ending.INFRASTRUCTURE_FAILURE)
    with pytest.raises(ValueError, match="has no turns"):
        write_trajectories(tmp_path, [empty])


def test_converted_fields_survive_writing_and_reading(tmp_path: Path) -> None:
    elements = (Element((0, 0, 28, 56)), Element((3, 4, 10, 12), "确定"))
    turn = replace(ROLLOUT.turns[0], elements=elements)
    added = replace(ROLLOUT, turns=(turn,), coordinates="screenshot", origin="a-00000:7", subsets=("IDD", "app_unseen"))
    write_trajectories(tmp_path, [added, ROLLOUT])
    assert [read for _, read in read_trajectories(tmp_path)] == [added, ROLLOUT]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"coordinates": "device"}, "coordinates must be screenshot or resized, is 'device'"),
        ({"coordinates": ["screenshot"]}, "coordinates must be"),
        ({"origin": 3}, "origin must be str"),
        ({"subsets": "IDD"}, "subsets must be list"),
        ({"subsets": [None]}, "subsets must be str"),
        ({"step": {"elements": [[1, 2, 3, 4]]}}, "step 0: elements must be dict"),
        ({"step": {"elements": [{"bbox": [1, 2, 3]}]}}, "step 0: bbox must be"),
        ({"step": {"elements": [{"bbox": [1, 2, 3, 4], "text": 5}]}}, "step 0: text must be str"),
    ],
)
def test_wrong_converted_fields_are_reported(images: Path, changes: dict, reason: str) -> None:
    read = trajectory_from_json(json.dumps(published(**changes)), images)
    assert isinstance(read, Malformed) and reason in read.reason
