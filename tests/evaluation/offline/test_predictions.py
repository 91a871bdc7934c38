"""Predictions on disk: our own are read back, those of other models are read, and broken lines are reported."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mobile_r1_jax.agent.actions import (
    Action,
    Click,
    Key,
    LongPress,
    Malformed,
    Open,
    Reply,
    Swipe,
    SystemButton,
    Terminate,
    Type,
    Wait,
)
from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.agent.frames import Box, Frame, Point
from mobile_r1_jax.agent.trajectory import Element
from mobile_r1_jax.evaluation.offline.judging import GoldenStep
from mobile_r1_jax.evaluation.offline.predictions import (
    Prediction,
    answered_steps,
    prediction_from_json,
    prediction_to_json,
    read_predictions,
    write_prediction,
)

SCREEN, MODEL = Frame("screenshot", 1080, 2400), Frame("model", 420, 924)
G, P = Point(500, 1050, SCREEN), Point(200, 400, MODEL)
GOLDEN = GoldenStep(Click(G), SCREEN, Box(400, 1000, 600, 1100, SCREEN), (Element((0, 0, 9, 9), "你好"),))
WAIT = Wait(1)
ROW = {
    "trajectory": "data.jsonl:1",
    "step": 0,
    "size": [1080, 2400],
    "golden": {"action": "click", "coordinate": [500, 1050]},
    "predicted": {"action": "click", "coordinate": [1, 2]},
}


def prediction(answer: Action | Malformed = WAIT, step: int = 0, **changes: object) -> Prediction:
    return replace(Prediction("data.jsonl:1", step, GOLDEN, MODEL, answer, "text\n…", made_by="me"), **changes)


@pytest.mark.parametrize(
    "answer",
    [
        Click(P),
        LongPress(P, 1.5),
        Swipe(P, Point(0, 0, MODEL)),
        Type('"[red] 鞋'),
        SystemButton("Back"),
        Open("Clock"),
        Wait(2),
        Terminate("failure"),
        Key("ENTER"),
        Reply("42"),
        Malformed("no tool call"),
    ],
)
def test_predictions_survive_writing_and_reading(answer: Action | Malformed, tmp_path: Path) -> None:
    written = [
        prediction(answer, steps=3, app="商店", seen=False, subsets=("a", "b")),
        prediction(answer, 1, golden=GoldenStep(Wait(2), SCREEN), response="", made_by=""),
    ]
    for one in written:
        write_prediction(tmp_path / "p.jsonl", one)
    assert [read for _, read in read_predictions(tmp_path / "p.jsonl")] == written


def test_predictions_with_only_the_required_fields_are_read() -> None:
    read = prediction_from_json(ROW | {"unknown": [1]})
    assert read == Prediction(
        "data.jsonl:1", 0, GoldenStep(Click(G), SCREEN), Frame("model", 1080, 2400), read.predicted
    )
    assert read.predicted == Click(Point(1, 2, Frame("model", 1080, 2400)))
    relative = prediction_from_json(ROW | {"response_size": [1000, 1000], "trajectory": 7})
    assert relative.predicted == Click(Point(1, 2, Frame("model", 1000, 1000))) and relative.trajectory == "7"
    call = json.dumps({"name": "mobile_use", "arguments": {"action": "wait", "time": 2}})
    row = {key: value for key, value in ROW.items() if key != "predicted"}
    text = f"<think>t</think><action>a</action><tool_call>{call}</tool_call>"
    assert prediction_from_json(row | {"response": text}).predicted == Wait(2)
    assert isinstance(prediction_from_json(row | {"response": "Click there"}).predicted, Malformed)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"action": "click", "coordinate": [0.5, 0.5]}, "two whole numbers"),
        ({"action": "click", "coordinate": [1080, 0]}, "outside the 1080x2400"),
        ({"action": "tap"}, "unknown action"),
        ("click", "must be an object"),
        (None, "must be an object"),
    ],
)
def test_malformed_answer_counts_as_wrong_and_is_not_a_file_error(answer: object, reason: str) -> None:
    read = prediction_from_json(ROW | {"predicted": answer})
    assert isinstance(read, Prediction) and reason in read.predicted.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trajectory": None}, "trajectory must name"),
        ({"step": "0"}, "step must be int"),
        ({"size": [1080]}, "size must be [width, height]"),
        ({"size": [0, 2400]}, "size must be [width, height]"),
        ({"response_size": [10.5, 3]}, "response_size must be [width, height]"),
        ({"golden": {"action": "click", "coordinate": [1080, 0]}}, "golden: click: coordinate is outside"),
        ({"golden": {"action": "scroll"}}, "golden: unknown action"),
        ({"bbox": [9, 9, 1, 1]}, "bbox must be"),
        ({"elements": [[0, 0, 1, 1]]}, "elements must be dict"),
        ({"elements": [{"bbox": [0, 0, 1]}]}, "bbox must be"),
        ({"app": 3}, "app must be str"),
        ({"seen": "yes"}, "seen must be bool"),
        ({"steps": True}, "steps must be int"),
        ({"subsets": [1]}, "subsets must be str"),
        ({"malformed": 1, "predicted": ...}, "malformed must be str"),
        ({"predicted": ...}, "response is missing"),
    ],
)
def test_broken_line_gives_the_reason(changes: dict, reason: str) -> None:
    row = {key: value for key, value in {**ROW, **changes}.items() if value is not ...}
    read = prediction_from_json(row)
    assert isinstance(read, Malformed) and reason in read.reason


def test_broken_lines_are_counted_with_their_numbers_and_the_others_are_read(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    rows = [json.dumps(ROW), "{", "", json.dumps(ROW), json.dumps(ROW | {"step": 1}), "[1]", '{"trajectory": "data']
    file.write_text("\n".join(rows))
    read = list(read_predictions(file))
    assert [number for number, one in read if isinstance(one, Prediction)] == [1, 5]
    broken = {number: one.reason for number, one in read if isinstance(one, Malformed)}
    assert list(broken) == [2, 4, 6, 7] and broken[4] == "answers the same step as line 1"
    assert "not JSON" in broken[2] and "must be a JSON object" in broken[6]


def test_unreadable_file_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OneLineError, match=r"none\.jsonl: No such file"):
        list(read_predictions(tmp_path / "none.jsonl"))


def test_killed_run_resumes_after_its_last_complete_line(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    assert answered_steps(file, "me") == set()
    for step in (0, 2):
        write_prediction(file, prediction(step=step))
    with file.open("a") as opened:
        opened.write(json.dumps(prediction_to_json(prediction(step=3)))[:40])
    assert answered_steps(file, "me") == {("data.jsonl:1", 0), ("data.jsonl:1", 2)}
    write_prediction(file, prediction(step=3))
    assert answered_steps(file, "me") == {("data.jsonl:1", step) for step in (0, 2, 3)}
    with pytest.raises(OneLineError, match=r"p\.jsonl, line 1: made by another policy, or with other data"):
        answered_steps(file, "other")
