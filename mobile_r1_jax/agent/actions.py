"""The `mobile_use` action space: one frozen dataclass per action and one table that reads, prints and documents them.

Nine actions (paper, action space). One more (later relatives have `answer`) takes a dataclass, its place in the
`Action` union and a row in `ACTIONS`: parsing, printing, frame changes and the prompt's tool schema follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from mobile_r1_jax.agent.frames import Frame, Point

# One hour, in seconds: far above what any phone is ever asked to wait, far below what breaks arithmetic (our choice).
LONGEST_SECONDS = 3600


@dataclass(frozen=True)
class Malformed:
    """Something that cannot be read, as a value: `reason` says what is wrong with it, in one line."""

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


Action = Key | Click | LongPress | Swipe | Type | SystemButton | Open | Wait | Terminate


@dataclass(frozen=True)
class Kind:
    """What an argument may be: how to read it from JSON (given the frame of its coordinates) and its JSON schema."""

    read: Callable[[Any, Frame], Any]
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Argument:
    """One argument of one action: its JSON key, the dataclass field that it fills, what it may be and what it means."""

    name: str
    field: str
    kind: Kind
    meaning: str


@dataclass(frozen=True)
class ActionRow:
    """One row of the action table."""

    type: type
    arguments: tuple[Argument, ...]


def _read_point(value: Any, frame: Frame) -> Point | Malformed:
    # `type(v) is int`, not isinstance: JSON's true and 1.0 are no pixel coordinates.
    if not (isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value)):
        return Malformed("must be two whole numbers [x, y]")
    x, y = value
    if not frame.holds(x, y):
        return Malformed(f"lies off the {frame.width}x{frame.height} {frame.kind} image")
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
    except UnicodeEncodeError:  # half of a surrogate pair: JSON allows it, no keyboard can type it
        return Malformed("must be valid Unicode")
    return value


def _read_name(value: Any, frame: Frame) -> str | Malformed:
    text = _read_text(value, frame)
    return Malformed("must not be empty") if isinstance(text, str) and not text.strip() else text


def _one_of(*options: str) -> Kind:
    def read(value: Any, _: Frame) -> str | Malformed:
        return value if isinstance(value, str) and value in options else Malformed(f"must be one of {list(options)}")

    return Kind(read, {"type": "string", "enum": list(options)})


_POINT = Kind(_read_point, {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2})
_SECONDS = Kind(_read_seconds, {"type": "number"})
_TEXT = Kind(_read_text, {"type": "string"})
_NAME = Kind(_read_name, {"type": "string"})
_BUTTON = _one_of("Back", "Home", "Menu", "Enter")
_STATUS = _one_of("success", "failure")

_AT = Argument("coordinate", "point", _POINT, "where, [x, y] in pixels of the screenshot from its top left corner")
_FROM = replace(_AT, field="start")
_TO = Argument("coordinate2", "end", _POINT, "swipe: where it ends, [x, y] in pixels of the screenshot")
_WORDS = Argument("text", "text", _TEXT, "key: an adb keyevent name; type: what to type; open: the app's name")
_TIME = Argument("time", "seconds", _SECONDS, "long_press, wait: how long, in seconds")
_PRESSED = Argument("button", "button", _BUTTON, "system_button: which one")
_ENDED = Argument("status", "status", _STATUS, "terminate: how the task ended")

# Actions by their JSON names, arguments in the order in which they are printed.
ACTIONS: Mapping[str, ActionRow] = {
    "key": ActionRow(Key, (replace(_WORDS, kind=_NAME),)),
    "click": ActionRow(Click, (_AT,)),
    "long_press": ActionRow(LongPress, (_AT, _TIME)),
    "swipe": ActionRow(Swipe, (_FROM, _TO)),
    "type": ActionRow(Type, (_WORDS,)),
    "system_button": ActionRow(SystemButton, (_PRESSED,)),
    "open": ActionRow(Open, (replace(_WORDS, field="app", kind=_NAME),)),
    "wait": ActionRow(Wait, (_TIME,)),
    "terminate": ActionRow(Terminate, (_ENDED,)),
}
_NAMES: Mapping[type, str] = {row.type: name for name, row in ACTIONS.items()}


def action_name(action: Action) -> str:
    """The action's JSON name, such as "click"."""
    return _NAMES[type(action)]


def parse_action(arguments: Any, frame: Frame) -> Action | Malformed:
    """Reads the `arguments` object of a `mobile_use` call whose coordinates are pixels of `frame`.

    Never raises: an unknown action, an argument that is missing, unknown, of the wrong type or off the screen gives
    Malformed with the reason.
    """
    if not isinstance(arguments, dict):
        return Malformed("arguments must be an object")
    name = arguments.get("action")
    row = ACTIONS.get(name) if isinstance(name, str) else None
    if row is None:
        return Malformed(f"unknown action {_shown(name)}")
    if unknown := set(arguments) - {"action"} - {argument.name for argument in row.arguments}:
        return Malformed(f"{name}: unknown argument {_shown(min(unknown, key=str))}")
    values = {}
    for argument in row.arguments:
        if argument.name not in arguments:
            return Malformed(f"{name}: argument {argument.name!r} is missing")
        value = argument.kind.read(arguments[argument.name], frame)
        if isinstance(value, Malformed):
            shown = _shown(arguments[argument.name])
            return Malformed(f"{name}: {argument.name} {value.reason}, got {shown}")
        values[argument.field] = value
    return row.type(**values)


def action_arguments(action: Action) -> dict[str, Any]:
    """The `arguments` object of the action's call: "action" first, then the table's order."""
    name = action_name(action)
    printed: dict[str, Any] = {"action": name}
    for argument in ACTIONS[name].arguments:
        value = getattr(action, argument.field)
        printed[argument.name] = [value.x, value.y] if isinstance(value, Point) else value
    return printed


def to_frame(action: Action, frame: Frame) -> Action:
    """The same action with its points, if it has any, brought into `frame`."""
    values = {field.name: getattr(action, field.name) for field in fields(action)}
    moved = {name: value.to(frame) for name, value in values.items() if isinstance(value, Point)}
    return replace(action, **moved) if moved else action


def tool_schema() -> dict[str, Any]:
    """The `mobile_use` function as a JSON schema (the form of Qwen's chat template for tools), from the table."""
    properties: dict[str, Any] = {"action": {"type": "string", "enum": list(ACTIONS), "description": "what to do"}}
    for row in ACTIONS.values():
        for argument in row.arguments:
            properties.setdefault(argument.name, {**argument.kind.schema, "description": argument.meaning})
    usage = "; ".join(
        f"{name}({', '.join(argument.name for argument in row.arguments)})" for name, row in ACTIONS.items()
    )
    return {
        "type": "function",
        "function": {
            "name": "mobile_use",
            "description": f"Operate a phone by its touch screen and buttons. Actions and their arguments: {usage}.",
            "parameters": {"type": "object", "properties": properties, "required": ["action"]},
        },
    }


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer too long to print, or lists nested too deep
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= 60 else text[:57] + "..."
