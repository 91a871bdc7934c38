"""Responses: strict parsing and exact printing."""

import json
import random

import pytest

from mobile_r1_jax.agent.actions import Click, Malformed, Open, Swipe, Type, Wait
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.agent.responses import Response, empty_start, format_response, parse_response

FRAME = Frame("model", 112, 224)
CLICK = Click(Point(14, 42, FRAME))
CALL = '{"name": "mobile_use", "arguments": {"action": "click", "coordinate": [14, 42]}}'
PRINTED = f"<think>The shop is open.</think><action>Tap 购物车.</action><tool_call>{CALL}</tool_call>"
RESPONSE = Response("The shop is open.", "Tap 购物车.", CLICK)


def test_response_prints_exactly_as_in_the_data_set() -> None:
    assert format_response(RESPONSE) == PRINTED


@pytest.mark.parametrize(
    "response",
    [
        RESPONSE,
        Response("", "", CLICK),
        Response(" two\nlines ", "\t", Swipe(Point(0, 0, FRAME), Point(111, 223, FRAME))),
        Response("quotes \" ' {} <b>", "</b>", Type('line\nbreak " \\ ünï 你好 \u2028')),
        Response("tags in what is typed", "ok", Type("<think></tool_call>\\u003c")),
    ],
)
def test_printing_then_parsing_gives_the_same_response(response: Response) -> None:
    assert parse_response(format_response(response), FRAME) == response


@pytest.mark.parametrize("thought", ["<think>", "a</action>"])
def test_thought_with_a_tag_cannot_be_printed(thought: str) -> None:
    with pytest.raises(ValueError, match="holds <"):
        format_response(Response(thought, "", CLICK))


def test_whitespace_between_tags_and_in_the_call_is_accepted() -> None:
    text = f"<think>t</think>\n <action>a</action>\n\n<tool_call>\n{CALL}\n</tool_call>"
    assert parse_response(text, FRAME) == Response("t", "a", CLICK)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "<think> occurs 0 times"),
        (PRINTED.replace("<think>", "", 1), "<think> occurs 0 times"),
        (PRINTED + PRINTED, "<think> occurs 2 times"),
        (PRINTED.replace("</action>", "</action></action>"), "</action> occurs 2 times"),
        (f"<action>a</action><think>t</think><tool_call>{CALL}</tool_call>", "out of order"),
        (f"<think>t<action>a</think></action><tool_call>{CALL}</tool_call>", "out of order"),
        ("Sure: " + PRINTED, "text outside"),
        (PRINTED + " done", "text outside"),
        (PRINTED.replace("</think>", "</think>so"), "text outside"),
        (PRINTED.replace(CALL, ""), "not JSON"),
        (PRINTED.replace(CALL, CALL + CALL), "not JSON"),
        (PRINTED.replace(CALL, CALL.replace("[14, 42]", "[NaN, 42]")), "NaN is not a JSON value"),
        (PRINTED.replace('"arguments": {', '"arguments": {"action": "wait", '), "a key occurs twice"),
        (PRINTED.replace("mobile_use", "computer_use"), "tool must be mobile_use"),
        (PRINTED.replace('"name"', '"tool"'), "exactly"),
        (PRINTED.replace('{"name"', '{"id": 1, "name"'), "exactly"),
        (PRINTED.replace("[14, 42]", "[114, 42]"), "outside the 112x224 model image"),
        (PRINTED.replace(CALL, "[" * 100_000), "not JSON"),
        (PRINTED.replace("14", "1" * 5000), ""),
    ],
)
def test_malformed_responses_return_a_reason(text: str, reason: str) -> None:
    parsed = parse_response(text, FRAME)
    assert isinstance(parsed, Malformed) and reason in parsed.reason


def test_parser_never_raises_on_text_and_accepted_responses_survive_printing() -> None:
    draw = random.Random(0)
    pieces = ["<think>", "</think>", "<action>", "</action>", "<tool_call>", "</tool_call>", " ", "\n", "购", "\ud800"]
    pieces += [*PRINTED, CALL, '"', "{", "}", "[", "]", "1e999", "-0", "null", "true", "NaN", "\\u0000", "\0"]
    accepted = 0
    for _ in range(5000):
        if draw.random() < 0.5:
            text = "".join(draw.choices(pieces, k=draw.randrange(40)))
        else:
            letters = list(PRINTED)
            for _ in range(draw.randrange(1, 4)):
                letters[draw.randrange(len(letters))] = draw.choice(pieces)
            text = "".join(letters)
        parsed = parse_response(text, FRAME)
        if isinstance(parsed, Response):
            accepted += 1
            assert parse_response(format_response(parsed), FRAME) == parsed
    assert accepted > 100


def test_parser_never_raises_on_json() -> None:
    draw = random.Random(1)

    def value(depth: int) -> object:
        kind = draw.randrange(9 if depth else 7)
        leaves = [None, True, 3, -2.5, "click", "text", float("inf")]
        if kind < 7:
            return leaves[kind]
        if kind == 7:
            return [value(depth - 1) for _ in range(draw.randrange(4))]
        keys = ["action", "coordinate", "coordinate2", "text", "time", "status", "button", "name"]
        return {draw.choice(keys): value(depth - 1) for _ in range(draw.randrange(4))}

    for _ in range(3000):
        arguments = {"action": draw.choice(["click", "type", "wait", "swipe", "open"]), **dict([("text", value(2))])}
        arguments["coordinate"] = value(2)
        call = json.dumps({"name": "mobile_use", "arguments": draw.choice([arguments, value(3)])})
        parsed = parse_response(f"<think></think><action></action><tool_call>{call}</tool_call>", FRAME)
        assert isinstance(parsed, Malformed | Response)


def test_typed_text_and_app_names_keep_their_characters() -> None:
    assert '"text": "设置"' in format_response(Response("", "", Open("设置")))


@pytest.mark.parametrize(
    ("thought", "sentence", "start"),
    [
        ("", "tap", "<think></think>"),
        (" \n", "tap", "<think> \n</think>"),
        ("", "", "<think></think><action></action>"),
        ("", " ", "<think></think><action> </action>"),
        ("look", "tap", ""),
        ("look", "", ""),
    ],
)
def test_empty_parts_at_the_start_of_a_response_are_counted(thought: str, sentence: str, start: str) -> None:
    text = format_response(Response(thought, sentence, Wait(1)))
    assert text[: empty_start(text)] == start
    assert empty_start(text[:-1]) == 0
