"""The `mobile_use` action space, read and printed."""

import json
import math

import pytest

from mobile_r1_jax.agent.actions import (
    ACTIONS,
    WITH_ANSWER,
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
    action_arguments,
    parse_action,
    to_frame,
    tool_schema,
)
from mobile_r1_jax.agent.frames import Frame, Point

FRAME = Frame("model", 112, 224)
A, B = Point(14, 42, FRAME), Point(111, 223, FRAME)

EVERY = [
    (Key("volume_up"), {"action": "key", "text": "volume_up"}),
    (Click(A), {"action": "click", "coordinate": [14, 42]}),
    (LongPress(A, 1.5), {"action": "long_press", "coordinate": [14, 42], "time": 1.5}),
    (Swipe(A, B), {"action": "swipe", "coordinate": [14, 42], "coordinate2": [111, 223]}),
    (Type("你好 \"'$;"), {"action": "type", "text": "你好 \"'$;"}),
    (SystemButton("Back"), {"action": "system_button", "button": "Back"}),
    (Open("设置"), {"action": "open", "text": "设置"}),
    (Wait(2), {"action": "wait", "time": 2}),
    (Terminate("failure"), {"action": "terminate", "status": "failure"}),
]


@pytest.mark.parametrize(("action", "arguments"), EVERY, ids=lambda value: type(value).__name__)
def test_every_action_parses_and_prints_its_arguments_in_order(action: Action, arguments: dict) -> None:
    assert parse_action(arguments, FRAME) == action
    assert json.dumps(action_arguments(action)) == json.dumps(arguments)


def test_action_table_has_nine_actions_of_paper() -> None:
    assert [arguments["action"] for _, arguments in EVERY] == list(ACTIONS)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"action": "fly"}, "unknown action 'fly'"),
        ({"action": "answer", "text": "42"}, "unknown action"),
        ({"action": ["click"]}, "unknown action"),
        ({}, "unknown action None"),
        ([], "must be an object"),
        (None, "must be an object"),
        ({"action": "click"}, "'coordinate' is missing"),
        ({"action": "click", "coordinate": [1, 2], "text": "x"}, "unknown argument 'text'"),
        ({"action": "click", "coordinate": [112, 2]}, "outside the 112x224 model image"),
        ({"action": "click", "coordinate": [0, -1]}, "outside the 112x224 model image"),
        ({"action": "click", "coordinate": [1.0, 2]}, "whole numbers"),
        ({"action": "click", "coordinate": [True, 2]}, "whole numbers"),
        ({"action": "click", "coordinate": ["1", 2]}, "whole numbers"),
        ({"action": "click", "coordinate": [1, 2, 3]}, "whole numbers"),
        ({"action": "click", "coordinate": [math.nan, 2]}, "whole numbers"),
        ({"action": "click", "coordinate": [10**5000, 2]}, "outside the"),
        ({"action": "swipe", "coordinate": [1, 2]}, "'coordinate2' is missing"),
        ({"action": "long_press", "coordinate": [1, 2], "time": "1"}, "number of seconds"),
        ({"action": "wait", "time": True}, "number of seconds"),
        ({"action": "wait", "time": math.nan}, "number of seconds"),
        ({"action": "wait", "time": math.inf}, "number of seconds"),
        ({"action": "wait", "time": -1}, "number of seconds"),
        ({"action": "wait", "time": 10**400}, "number of seconds"),
        ({"action": "type", "text": 5}, "must be a string"),
        ({"action": "type", "text": "\ud800"}, "valid Unicode"),
        ({"action": "open", "text": " "}, "must not be empty"),
        ({"action": "system_button", "button": "back"}, "one of ['Back', 'Home', 'Menu', 'Enter']"),
        ({"action": "terminate", "status": None}, "one of ['success', 'failure']"),
    ],
)
def test_malformed_actions_return_a_reason_and_never_raise(arguments: object, reason: str) -> None:
    parsed = parse_action(arguments, FRAME)
    assert isinstance(parsed, Malformed) and reason in parsed.reason
    assert "\n" not in parsed.reason and len(parsed.reason) < 250


def test_changing_the_frame_changes_points_only() -> None:
    device = Frame("device", 1120, 2240)
    assert to_frame(Swipe(A, B), device) == Swipe(A.to(device), B.to(device))
    assert to_frame(LongPress(A, 1.5), device) == LongPress(Point(145, 425, device), 1.5)
    assert to_frame(Type("x"), device) == Type("x")


def test_tool_schema_names_every_action_and_argument() -> None:
    parameters = tool_schema()["function"]["parameters"]
    assert parameters["properties"]["action"]["enum"] == list(ACTIONS)
    named = {argument.name for row in ACTIONS.values() for argument in row.arguments}
    assert set(parameters["properties"]) == {"action"} | named


@pytest.mark.parametrize("text", ["42", "今天 21 度", "yes; rm -rf /", " a "])
def test_answer_parses_only_in_an_action_space_that_has_it(text: str) -> None:
    arguments = {"action": "answer", "text": text}
    assert parse_action(arguments, FRAME) == Malformed("unknown action 'answer'")
    assert parse_action(arguments, FRAME, WITH_ANSWER) == Reply(text)
    assert action_arguments(Reply(text)) == arguments and to_frame(Reply(text), FRAME) == Reply(text)


@pytest.mark.parametrize("arguments", [{}, {"text": ""}, {"text": " \n"}, {"text": 4}, {"text": "a", "time": 1}])
def test_an_answer_without_text_is_malformed(arguments: dict) -> None:
    assert isinstance(parse_action({"action": "answer", **arguments}, FRAME, WITH_ANSWER), Malformed)


def test_schema_has_answer_only_if_the_action_space_has_it() -> None:
    assert "answer" not in json.dumps(tool_schema())
    schema = tool_schema(WITH_ANSWER)["function"]
    assert schema["parameters"]["properties"]["action"]["enum"] == [*ACTIONS, "answer"]
    assert schema["description"].endswith("answer(text).")
