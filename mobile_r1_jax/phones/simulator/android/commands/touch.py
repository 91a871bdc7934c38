"""The command input."""

import re

from mobile_r1_jax.phones.simulator.android.failures import raised
from mobile_r1_jax.phones.simulator.android.key_codes import key_name
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android

LONG_PRESS_MS = 400  # Android's default timeout for a long press
TOUCH_SLOP = 8  # largest movement in pixels that is not a swipe
_USAGE = "Usage: input [<source>] <command> [<arg>...]"

SINCE = {"keycombination": 12, "motionevent": 10}  # the Android version that a command of `input` came with
_SOURCES = {
    "dpad", "gamepad", "joystick", "keyboard", "mouse", "stylus", "touchnavigation", "touchpad", "touchscreen",
    "trackball",
}  # fmt: skip
_FRAME = "com.android.commands.input.Input.sendText(Input.java:168)"
_LENGTH_OF_NULL = "java.lang.NullPointerException: Attempt to get length of null array"


def input_(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`input [source] [-d display] command …`. To Android 10 it is a program, from 11 on a service."""
    rest = list(arguments)
    if rest and rest[0] in _SOURCES:
        rest.pop(0)
    if rest[:1] == ["-d"] and android.version > 9:
        rest = rest[2:]
    name, operands = (rest[0], rest[1:]) if rest else ("", [])
    handler = _INPUT.get(name)
    if handler is None or android.version < SINCE.get(name, 0):
        if android.version > 10:
            return printed(f"Unknown command: {name}\n")
        return failed(f"Error: Unknown command: {name}\n{_USAGE}", 0)
    try:
        handler(android, operands)
    except _NotTypableError:
        return _failed(android, name, _LENGTH_OF_NULL, f"{_LENGTH_OF_NULL}\n\tat {_FRAME}\nKilled", 137)
    except (ValueError, IndexError, OverflowError) as error:
        invalid = f"Error: Invalid arguments for command: {name}"
        missing = f'Argument expected after "{rest[-1]}"'
        reason = missing if isinstance(error, IndexError) else invalid
        return _failed(android, name, f"java.lang.IllegalArgumentException: {reason}", f"{invalid}\n{_USAGE}", 0)
    return Result()


class _NotTypableError(Exception):
    """The text has characters that Android's key map does not have."""


def _failed(android: Android, name: str, exception: str, older: str, status: int) -> Result:
    """Return Android's answer to a call that fails; `older` and `status` are those of the program, to Android 10."""
    return raised(android.version, name, exception) if android.version > 10 else failed(older, status)


def _pixels(operands: list[str], count: int) -> list[int]:
    """Return the first `count` operands as whole pixels. Raises IndexError for a missing one, ValueError for text."""
    return [int(float(operands[k])) for k in range(count)]


def _inside(android: Android, *points: tuple[int, int]) -> bool:
    width, height = android.device.size
    return all(0 <= x < width and 0 <= y < height for x, y in points)


def _tap(android: Android, operands: list[str]) -> None:
    x, y = _pixels(operands, 2)
    if _inside(android, (x, y)):
        android.device.tap(x, y)


def _swipe(android: Android, operands: list[str]) -> None:
    """Swipe. A movement within TOUCH_SLOP is a tap, or a long press from LONG_PRESS_MS on."""
    x1, y1, x2, y2 = _pixels(operands, 4)
    milliseconds = int(operands[4]) if len(operands) > 4 else 300
    if not _inside(android, (x1, y1)):
        return
    if max(abs(x2 - x1), abs(y2 - y1)) > TOUCH_SLOP:
        android.device.swipe(x1, y1, x2, y2)
    elif milliseconds >= LONG_PRESS_MS:
        android.device.long_press(x1, y1)
    else:
        android.device.tap(x1, y1)


def _motion_event(android: Android, operands: list[str]) -> None:
    """Handle DOWN, MOVE, UP and CANCEL of one finger. UP decides between tap and swipe."""
    kind, (x, y) = operands[0].upper(), _pixels(operands[1:], 2)
    if kind == "DOWN":
        android.touched = (x, y)
    elif kind == "UP" and android.touched is not None:
        begin, android.touched = android.touched, None
        _swipe(android, [str(value) for value in (*begin, x, y)])
    elif kind == "CANCEL":
        android.touched = None
    elif kind not in ("MOVE", "UP"):
        raise ValueError(kind)


def _text(android: Android, operands: list[str]) -> None:
    """Type text with %s as a space. As on Android, text outside ASCII and empty text fail, and nothing is typed."""
    text = operands[0].replace("%s", " ")
    if not re.fullmatch(r"[ -~\t\n]+", text):
        raise _NotTypableError
    for piece in re.findall(r"[ -~]+|[\t\n]", text):
        if piece in "\t\n":
            android.device.key("TAB" if piece == "\t" else "ENTER")
        else:
            android.device.type_text(piece)


def _keyevent(android: Android, operands: list[str]) -> None:
    """`keyevent [--longpress|--doubletap|--async|--delay MS] KEY…`."""
    words = list(operands)
    while words[:1] and words[0].startswith("--"):
        words = words[2 if words[0] == "--delay" else 1 :]
    for name in [key_name(words[0]), *map(key_name, words[1:])]:
        android.device.key(name)


def _keycombination(android: Android, operands: list[str]) -> None:
    """`keycombination [-t MS] KEY KEY…`."""
    names = [key_name(word) for word in (operands[2:] if operands[:1] == ["-t"] else operands)]
    if len(names) < 2:
        raise ValueError("a combination has two keys or more")
    android.device.key("+".join(names))


def _press(android: Android, operands: list[str]) -> None:
    """Press the trackball. Nothing on the screen is selected by one."""


def _roll(android: Android, operands: list[str]) -> None:
    """`roll DX DY` of the trackball."""
    for k in range(2):
        float(operands[k])


_INPUT = {
    "draganddrop": _swipe,
    "keycombination": _keycombination,
    "keyevent": _keyevent,
    "motionevent": _motion_event,
    "press": _press,
    "roll": _roll,
    "swipe": _swipe,
    "tap": _tap,
    "text": _text,
}
