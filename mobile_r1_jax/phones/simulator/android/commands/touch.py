"""The commands input and screencap."""

from mobile_r1_jax.phones.simulator.android.files import FileError
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android

LONG_PRESS_MS = 400  # Android's default timeout for a long press
TOUCH_SLOP = 8  # largest movement in pixels that is not a swipe

# Android's key codes that agents and tools send. Other names pass unchanged.
KEY_NAMES = {
    3: "HOME", 4: "BACK", 19: "DPAD_UP", 20: "DPAD_DOWN", 21: "DPAD_LEFT", 22: "DPAD_RIGHT", 23: "DPAD_CENTER",
    24: "VOLUME_UP", 25: "VOLUME_DOWN", 26: "POWER", 27: "CAMERA", 28: "CLEAR", 29: "A", 31: "C", 50: "V", 52: "X",
    61: "TAB", 62: "SPACE", 66: "ENTER", 67: "DEL", 82: "MENU", 84: "SEARCH", 92: "PAGE_UP", 93: "PAGE_DOWN",
    111: "ESCAPE", 112: "FORWARD_DEL", 113: "CTRL_LEFT", 122: "MOVE_HOME", 123: "MOVE_END", 164: "VOLUME_MUTE",
    187: "APP_SWITCH", 223: "SLEEP", 224: "WAKEUP", 277: "CUT", 278: "COPY", 279: "PASTE",
}  # fmt: skip
_SOURCES = {"touchscreen", "keyboard", "mouse", "touchpad", "stylus", "dpad", "trackball"}


def input_(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`input [source] [-d display] command …`."""
    rest = list(arguments)
    if rest and rest[0] in _SOURCES:
        rest.pop(0)
    if rest[:1] == ["-d"]:
        rest = rest[2:]
    name, operands = (rest[0], rest[1:]) if rest else ("", [])
    handler = _INPUT.get(name)
    if handler is None:
        return failed(f"Error: Unknown command: {name}", 255)
    try:
        handler(android, operands)
    except (ValueError, IndexError):
        return failed(f"Error: Invalid arguments for command: {name}", 255)
    return Result()


def _pixels(operands: list[str], count: int) -> list[int]:
    """Return the first `count` operands as whole pixels. Raises ValueError if one is missing or not a number."""
    if len(operands) < count:
        raise ValueError(f"{count} numbers needed")
    return [int(float(operand)) for operand in operands[:count]]


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
    """Type text. As on Android, %s becomes a space and characters outside ASCII are lost."""
    text = operands[0].replace("%s", " ")
    android.device.type_text("".join(char for char in text if " " <= char <= "~"))


def _key_name(operand: str) -> str:
    name = operand.upper().removeprefix("KEYCODE_")
    return KEY_NAMES.get(int(name), name) if name.isdigit() else name


def _keyevent(android: Android, operands: list[str]) -> None:
    names = [_key_name(operand) for operand in operands if not operand.startswith("--")]
    if not names:
        raise ValueError("no key")
    for name in names:
        if name in ("SLEEP", "WAKEUP", "POWER"):
            android.awake = name == "WAKEUP" or (name == "POWER" and not android.awake)
        else:
            android.device.key(name)


def _keycombination(android: Android, operands: list[str]) -> None:
    names = [_key_name(operand) for operand in operands]
    if len(names) < 2:
        raise ValueError("a combination has two keys or more")
    android.device.key("+".join(names))


_INPUT = {
    "draganddrop": _swipe,
    "keycombination": _keycombination,
    "keyevent": _keyevent,
    "motionevent": _motion_event,
    "swipe": _swipe,
    "tap": _tap,
    "text": _text,
}


def screencap(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`screencap [-p] [-d display] [file]`: PNG to the file, or to standard output."""
    paths = [
        word for word, before in zip(arguments, ["", *arguments], strict=False) if word[0] != "-" and before != "-d"
    ]
    if "-p" not in arguments and not (paths and paths[0].endswith(".png")):
        return failed("screencap: raw pixels are not supported: use -p")
    png = android.trouble.capture(android)
    if png is None:
        return Result(status=1)
    if not paths:
        return printed(png)
    try:
        android.files.write(paths[0], png)
    except FileError as error:
        return failed(f"Error opening file: {error}")
    return Result()
