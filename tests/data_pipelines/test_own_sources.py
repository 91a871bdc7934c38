"""The published layout and runs as sources, and errors for directories of other formats."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from encoded import aitw, android_control, picture, write_records
from PIL import Image
from test_list_sources import aitz_step, cagui_step, episode, odyssey, odyssey_step

from data_pipelines.sources import SOURCES, get_source
from mobile_r1_jax.agent.actions import Click, Malformed
from mobile_r1_jax.agent.completion import Completion
from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.agent.responses import Response, format_response, parse_response
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot
from mobile_r1_jax.agent.trajectory import Element, Ending, Trajectory, Turn, write_trajectories

SIZE = (1080, 2400)


def png(size: tuple[int, int] = SIZE) -> Screenshot:
    file = io.BytesIO()
    Image.new("L", size).save(file, "PNG")
    return Screenshot(file.getvalue())


SCREEN = png()


def clicks(*points: tuple[int, int], **changes: object) -> Trajectory:
    frame = Frame("screenshot", *SIZE)
    turns = tuple(
        Turn(SCREEN, format_response(Response("look", "tap", Click(Point(x, y, frame)))), bbox=(x - 5, y - 5, x, y))
        for x, y in points
    )
    return replace(Trajectory("buy", "shop", "Phone. buy", turns, Ending.SUCCESS), **changes)


def actions(one: Trajectory | Malformed) -> list[tuple[int, int]]:
    assert isinstance(one, Trajectory), one
    read = [parse_response(turn.response, turn.screenshot.frame) for turn in one.turns]
    return [(response.action.point.x, response.action.point.y) for response in read]


def test_published_lines_in_resized_pixels_become_image_pixels(tmp_path: Path) -> None:
    points = [(x, y) for x in (20, 150, 290) for y in (30, 400, 690)]
    write_trajectories(tmp_path, [clicks(*points), clicks((250, 600), app="")])
    assert Resizing().model_size(*SIZE) == (336, 728)
    first, second = SOURCES["mobile_r1"].read(tmp_path)
    assert actions(first)[:2] == [(65, 100), (65, 1320)] and actions(second) == [(805, 1979)]
    assert first.turns[0].bbox == (49, 84, 65, 100) and first.coordinates == "screenshot"
    assert (first.system, first.origin, first.app) == ("Phone. buy", "data.jsonl:1", "shop")


def test_converted_data_is_a_source_without_changes(tmp_path: Path) -> None:
    one = clicks((20, 30), (150, 400), coordinates="screenshot", subsets=("IDD",))
    elements = (Element((0, 0, 1079, 2399), "all"),)
    one = replace(one, turns=(replace(one.turns[0], elements=elements), replace(one.turns[1], mistake=True)))
    write_trajectories(tmp_path, [one])
    [again] = SOURCES["mobile_r1"].read(tmp_path)
    assert again == replace(one, origin="data.jsonl:1")


def test_broken_lines_and_lines_of_a_policy_are_reported(tmp_path: Path) -> None:
    one = clicks((20, 30), coordinates="screenshot")
    sampled = replace(one, turns=(replace(one.turns[0], completion=Completion((1, 2))),))
    off = replace(one, turns=(replace(one.turns[0], bbox=(0, 0, 1080, 5)),))
    malformed = replace(one, turns=(replace(one.turns[0], response="no tags"),))
    write_trajectories(tmp_path, [one, sampled, off, malformed])
    with (tmp_path / "data.jsonl").open("ab") as file:
        file.write(b'{"app_name": \n\xff\n' + json.dumps({"trajectory": 3}).encode() + b"\n")
    first, *broken = SOURCES["mobile_r1"].read(tmp_path)
    assert isinstance(first, Trajectory)
    for line, (found, reason) in enumerate(
        zip(
            broken,
            [
                "written by a policy; convert its run directory with --source=runs",
                "step 0: bbox is outside the 1080x2400 screenshot image",
                "step 0: <think> occurs 0 times",
                "not JSON",
                "not UTF-8",
                "trajectory must be list",
            ],
            strict=True,
        ),
        2,
    ):
        assert found.reason.startswith(f"data.jsonl:{line}: ") and reason in found.reason


def run_directory(path: Path, config: str = "resizing: {scale: 0.5}\n") -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.yaml").write_text(config)
    good = clicks((20, 30), (500, 1190))
    good = replace(good, turns=tuple(replace(turn, completion=Completion((1, 2), (-1, -2))) for turn in good.turns))
    write_trajectories(path / "trajectories" / "task_level", [good, replace(good, ending=Ending.FAILURE)])
    write_trajectories(path / "trajectories" / "evaluation-base", [replace(good, ending=Ending.OUT_OF_STEPS), good])
    return path


def test_successful_rollouts_become_annotations_in_image_pixels(tmp_path: Path) -> None:
    source = SOURCES["runs"]
    run_directory(tmp_path, "resizing: {scale: 0.5, max_pixels: 1000000}\n")
    found = list(source.read(tmp_path))
    assert [isinstance(one, Malformed) for one in found] == [True, False, False, True]
    assert (
        found[0].reason
        == "trajectories/evaluation-base/data.jsonl:1: it ended as out_of_steps, so it is not an example"
    )
    assert found[3].reason == "trajectories/task_level/data.jsonl:2: it ended as failure, so it is not an example"
    # Of the 532x1204 pixels that the policy saw.
    assert actions(found[1]) == [(41, 60), (1016, 2373)] and found[1].turns[0].completion is None
    assert found[2].origin == "trajectories/task_level/data.jsonl:1"
    assert [episode.load().split for episode in list(source.episodes(tmp_path))[1:3]] == ["test", "train"]


@pytest.mark.parametrize("config", ["", "resizing: 3", "resizing: {scale: -1}", "resizing: {nope: 1}", "a: ["])
def test_broken_config_of_a_run_is_a_one_line_error(tmp_path: Path, config: str) -> None:
    with pytest.raises(OneLineError, match=r"config\.yaml is broken") as caught:
        list(SOURCES["runs"].read(run_directory(tmp_path, config)))
    assert "\n" not in str(caught.value)


def make(name: str, path: Path) -> Path:
    wait = {"action_type": "wait"}
    match name:
        case "mobile_r1":
            write_trajectories(path, [clicks((20, 30))])
        case "android_control":
            write_records(path / "android_control-00000-of-00020", android_control(1, "x", wait))
        case "aitw":
            write_records(path / "general" / "general-00003-of-00321", aitw("a", 0, 1, 6))
        case "aitz":
            episode(path / "train" / "general" / "GENERAL-1", [aitz_step(0, 1, 6)])
        case "gui_odyssey":
            odyssey(path / "data", odyssey_step(0, "BACK"))
        case "cagui":
            episode(path / "CAGUI_agent" / "domestic" / "1", [cagui_step(0, 1, 6)], "JPEG", "jpeg")
        case "runs":
            run_directory(path)
    return path


@pytest.mark.parametrize("name", list(SOURCES))
def test_directory_of_another_format_is_a_one_line_error_with_its_format(tmp_path: Path, name: str) -> None:
    path = make(name, tmp_path / "in")
    assert get_source(name, path).name == name
    for other in SOURCES.keys() - {name}:
        with pytest.raises(OneLineError, match=rf"in does not look like .*; it looks like .*: use --source={name}$"):
            get_source(other, path)


@pytest.mark.parametrize("name", list(SOURCES))
def test_directory_of_unknown_format_error_says_what_is_expected(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.json").write_text("[1, 2]")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "b.json").write_text("{")
    (tmp_path / "x-00000-of-00001").write_bytes(b"nothing of the kind")
    (tmp_path / "c.png").write_bytes(picture((5, 5)))
    for path in (tmp_path, tmp_path / "a.json", tmp_path / "c.png"):
        with pytest.raises(OneLineError, match=r"does not look like .* \(.*\); nor like any other source"):
            get_source(name, path)
    with pytest.raises(OneLineError, match="gone: no such file or directory"):
        get_source(name, tmp_path / "gone")
