"""The policy's response in one turn: thought, action sentence and tool call; strict parsing and exact printing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from mobile_r1_jax.agent.actions import ACTIONS, Action, ActionRow, Malformed, action_arguments, parse_action
from mobile_r1_jax.agent.frames import Frame

TOOL = "mobile_use"
_PARTS = ("think", "action", "tool_call")
_TAGS = tuple(tag for part in _PARTS for tag in (f"<{part}>", f"</{part}>"))
_STRUCTURE = re.compile(r"\s*".join(f"<{part}>(.*?)</{part}>" for part in _PARTS), re.DOTALL)


@dataclass(frozen=True)
class Response:
    """The thought, the action in one sentence, and the action itself."""

    thought: str
    sentence: str
    action: Action


@dataclass(frozen=True)
class ResponseParts:
    """A response split at its tags; the call is still text."""

    thought: str
    sentence: str
    call: str


def split_response(text: str) -> ResponseParts | Malformed:
    """Split a response at its tags: each exactly once, in order, with nothing but whitespace between the parts."""
    for tag in _TAGS:
        if (count := text.count(tag)) != 1:
            return Malformed(f"{tag} occurs {count} times, must be once")
    match = _STRUCTURE.fullmatch(text)
    if match is None:
        return Malformed("tags out of order, or text outside of them")
    return ResponseParts(*match.groups())


def empty_start(response: str) -> int:
    """Return the number of characters at the start of a response that hold an empty thought, and the action sentence if
    that is empty as well. 0 if the response has a thought, or is malformed."""
    parts = split_response(response)
    if isinstance(parts, Malformed) or parts.thought.strip():
        return 0
    return response.index("<action>" if parts.sentence.strip() else "<tool_call>")


def parse_call(text: str, frame: Frame, actions: Mapping[str, ActionRow] = ACTIONS) -> Action | Malformed:
    """Parse a tool call, {"name": "mobile_use", "arguments": {…}}, whose coordinates are pixels of `frame`."""
    try:
        call = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return Malformed(f"tool call is not JSON: {error}")
    if not isinstance(call, dict) or set(call) != {"name", "arguments"}:
        return Malformed('tool call must be an object with exactly "name" and "arguments"')
    if call["name"] != TOOL:
        return Malformed(f"tool must be {TOOL}")
    return parse_action(call["arguments"], frame, actions)


def parse_response(text: str, frame: Frame, actions: Mapping[str, ActionRow] = ACTIONS) -> Response | Malformed:
    """Parse a whole response whose coordinates are pixels of `frame`; actions: the space. Never raise."""
    parts = split_response(text)
    if isinstance(parts, Malformed):
        return parts
    action = parse_call(parts.call, frame, actions)
    if isinstance(action, Malformed):
        return action
    return Response(parts.thought, parts.sentence, action)


def format_call(action: Action) -> str:
    """Return an action's call: {"name": "mobile_use", "arguments": {"action": "click", "coordinate": [14, 42]}}."""
    return json.dumps({"name": TOOL, "arguments": action_arguments(action)}, ensure_ascii=False)


def format_response(response: Response) -> str:
    """Return the text of a response; `parse_response` returns the same response again.

    Raise ValueError when the thought or the sentence contains one of the tags. A tag inside the call (typed text) is
    written with its "<" as a JSON escape.
    """
    for tag in _TAGS:
        if tag in response.thought or tag in response.sentence:
            raise ValueError(f"cannot print a response whose thought or sentence holds {tag}; leave the tag out")
    call = format_call(response.action)
    for tag in _TAGS:
        call = call.replace(tag, "\\u003c" + tag[1:])
    return f"<think>{response.thought}</think><action>{response.sentence}</action><tool_call>{call}</tool_call>"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise ValueError("a key occurs twice")
    return read


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")
