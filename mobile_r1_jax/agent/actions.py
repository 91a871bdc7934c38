"""The `mobile_use` action space: one frozen dataclass per action and one table that reads, prints and documents them.

There are nine actions [paper], and `answer`, which later relatives have and a run turns on. To add an action, add a
dataclass, put it into the `Action` union and give it a row in `ACTIONS`, or in `WITH_ANSWER` if it is off by default.
Parsing, printing, frame changes and the prompt's tool schema read that table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from mobile_r1_jax.agent.frames import Frame, Point

# One hour: longer than any useful wait, and small enough for all arithmetic [ours].
LONGEST_SECONDS = 3600


@dataclass(frozen=True)
class Malformed:
    """The result of reading something that is wrong; `reason` says in one line what is wrong."""

    reason: str


@dataclass(frozen=True)
class Key:
    """Press a key by its adb keyevent name."""

    text: str


@dataclass(frozen=True)
class Click:
    """Tap a point."""

    point: Point


@dataclass(frozen=True)
class LongPress:
    """Hold a point for some seconds."""

    point: Point
    seconds: float


@dataclass(frozen=True)
class Swipe:
    """Drag from one point to another."""

    start: Point
    end: Point


@dataclass(frozen=True)
class Type:
    """Type text into the focused field."""

    text: str


@dataclass(frozen=True)
class SystemButton:
    """Press Back, Home, Menu or Enter."""

    button: str


@dataclass(frozen=True)
class Open:
    """Open an app by its name."""

    app: str


@dataclass(frozen=True)
class Wait:
    """Let some seconds pass."""

    seconds: float


@dataclass(frozen=True)
class Terminate:
    """End the task as a success or a failure."""

    status: str


@dataclass(frozen=True)
class Reply:
    """Tell the user something, such as the answer to a question."""

    text: str


Action = Key | Click | LongPress | Swipe | Type | SystemButton | Open | Wait | Terminate | Reply


@dataclass(frozen=True)
class ArgumentType:
    """The type of an argument: how to read it from JSON (given the frame of its coordinates) and its JSON schema."""

    read: Callable[[Any, Frame], Any]
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Argument:
    """One argument of one action: its JSON key, the dataclass field that it fills, its type and its meaning."""

    name: str
    field: str
    type: ArgumentType
    meaning: str


@dataclass(frozen=True)
class ActionRow:
    """One row of the action table."""

    type: type
    arguments: tuple[Argument, ...]


def _read_point(value: Any, frame: Frame) -> Point | Malformed:
    # `type(v) is int`, not isinstance: JSON's true and 1.0 are not pixel coordinates.
    if not (isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value)):
        return Malformed("must be two whole numbers [x, y]")
    x, y = value
    if not frame.holds(x, y):
        return Malformed(f"is outside the {frame.width}x{frame.height} {frame.kind} image")
    return Point(x, y, frame)


def _read_seconds(value: Any, _: Frame) -> float | Malformed:
    if type(value) not in (int, float) or not 0 < value <= LONGEST_SECONDS:  # NaN fails the comparison
        return Malformed(f"must be a number of seconds above 0 and at most {LONGEST_SECONDS}")
    return value


def _read_text(value: Any, _: Frame) -> str | Malformed:
    if not isinstance(value, str):
        return Malformed("must be a string")
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: JSON allows it
        return Malformed("must be valid Unicode")
    return value


def _read_name(value: Any, frame: Frame) -> str | Malformed:
    text = _read_text(value, frame)
    return Malformed("must not be empty") if isinstance(text, str) and not text.strip() else text


def _one_of(*options: str) -> ArgumentType:
    def read(value: Any, _: Frame) -> str | Malformed:
        return value if isinstance(value, str) and value in options else Malformed(f"must be one of {list(options)}")

    return ArgumentType(read, {"type": "string", "enum": list(options)})


_POINT = ArgumentType(_read_point, {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2})
_SECONDS = ArgumentType(_read_seconds, {"type": "number"})
_TEXT = ArgumentType(_read_text, {"type": "string"})
_NAME = ArgumentType(_read_name, {"type": "string"})
_BUTTON = _one_of("Back", "Home", "Menu", "Enter")
_STATUS = _one_of("success", "failure")

_AT = Argument("coordinate", "point", _POINT, "where, [x, y] in pixels of the screenshot from its top left corner")
_FROM = replace(_AT, field="start")
_TO = Argument("coordinate2", "end", _POINT, "swipe: where it ends, [x, y] in pixels of the screenshot")
_WORDS = Argument("text", "text", _TEXT, "key: an adb keyevent name; type: what to type; open: the app's name")
_TIME = Argument("time", "seconds", _SECONDS, "long_press, wait: how long, in seconds")
_PRESSED = Argument("button", "button", _BUTTON, "system_button: which one")
_ENDED = Argument("status", "status", _STATUS, "terminate: how the task ended")
_ANSWERED = Argument("text", "text", _NAME, "answer: what to tell the user")

# Actions by their JSON names, arguments in the order in which they are printed.
ACTIONS: Mapping[str, ActionRow] = {
    "key": ActionRow(Key, (replace(_WORDS, type=_NAME),)),
    "click": ActionRow(Click, (_AT,)),
    "long_press": ActionRow(LongPress, (_AT, _TIME)),
    "swipe": ActionRow(Swipe, (_FROM, _TO)),
    "type": ActionRow(Type, (_WORDS,)),
    "system_button": ActionRow(SystemButton, (_PRESSED,)),
    "open": ActionRow(Open, (replace(_WORDS, field="app", type=_NAME),)),
    "wait": ActionRow(Wait, (_TIME,)),
    "terminate": ActionRow(Terminate, (_ENDED,)),
}
WITH_ANSWER: Mapping[str, ActionRow] = {**ACTIONS, "answer": ActionRow(Reply, (_ANSWERED,))}
_NAMES: Mapping[type, str] = {row.type: name for name, row in WITH_ANSWER.items()}


def action_name(action: Action) -> str:
    """Return the action's JSON name, such as "click"."""
    return _NAMES[type(action)]


def parse_action(arguments: Any, frame: Frame, actions: Mapping[str, ActionRow] = ACTIONS) -> Action | Malformed:
    """Read the `arguments` object of a `mobile_use` call whose coordinates are pixels of `frame`; actions: the space.

    Never raise. Return Malformed for an unknown action, and for an argument that is missing, unknown, of the wrong type
    or off the screen.
    """
    if not isinstance(arguments, dict):
        return Malformed("arguments must be an object")
    name = arguments.get("action")
    row = actions.get(name) if isinstance(name, str) else None
    if row is None:
        return Malformed(f"unknown action {_abbreviate(name)}")
    if unknown := set(arguments) - {"action"} - {argument.name for argument in row.arguments}:
        return Malformed(f"{name}: unknown argument {_abbreviate(min(unknown, key=str))}")
    values = {}
    for argument in row.arguments:
        if argument.name not in arguments:
            return Malformed(f"{name}: argument {argument.name!r} is missing")
        value = argument.type.read(arguments[argument.name], frame)
        if isinstance(value, Malformed):
            received = _abbreviate(arguments[argument.name])
            return Malformed(f"{name}: {argument.name} {value.reason}, got {received}")
        values[argument.field] = value
    return row.type(**values)


def action_arguments(action: Action) -> dict[str, Any]:
    """Return the `arguments` object of the action's call: "action" first, then the order of the table."""
    name = action_name(action)
    printed: dict[str, Any] = {"action": name}
    for argument in WITH_ANSWER[name].arguments:
        value = getattr(action, argument.field)
        printed[argument.name] = [value.x, value.y] if isinstance(value, Point) else value
    return printed


def to_frame(action: Action, frame: Frame) -> Action:
    """Return the action with its points converted to `frame`."""
    values = {field.name: getattr(action, field.name) for field in fields(action)}
    moved = {name: value.to(frame) for name, value in values.items() if isinstance(value, Point)}
    return replace(action, **moved) if moved else action


def tool_schema(actions: Mapping[str, ActionRow] = ACTIONS) -> dict[str, Any]:
    """Return the JSON schema of the `mobile_use` function, as Qwen's chat template for tools needs it."""
    properties: dict[str, Any] = {"action": {"type": "string", "enum": list(actions), "description": "what to do"}}
    for row in actions.values():
        for argument in row.arguments:
            properties.setdefault(argument.name, {**argument.type.schema, "description": argument.meaning})
    usage = "; ".join(
        f"{name}({', '.join(argument.name for argument in row.arguments)})" for name, row in actions.items()
    )
    return {
        "type": "function",
        "function": {
            "name": "mobile_use",
            "description": f"Operate a phone by its touch screen and buttons. Actions and their arguments: {usage}.",
            "parameters": {"type": "object", "properties": properties, "required": ["action"]},
        },
    }


def _abbreviate(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer too long to print, or lists nested too deep
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= 60 else text[:57] + "..."
