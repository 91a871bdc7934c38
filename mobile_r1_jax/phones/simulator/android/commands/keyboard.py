"""The keyboards of the phone: the command ime, and the broadcasts that the ADB keyboard takes."""

import base64
import binascii
from collections.abc import Mapping

from mobile_r1_jax.phones.simulator.android.failures import NEGATIVE, Raised
from mobile_r1_jax.phones.simulator.android.key_codes import key_name
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import ADB_KEYBOARD, STOCK_KEYBOARD, Android

EDITOR_ACTIONS = {"GO": "2", "SEARCH": "3", "SEND": "4", "NEXT": "5", "DONE": "6"}


def ime(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`ime list [-a] [-s]`, `ime enable|disable|set ID`, `ime reset`."""
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if verb == "list":
        return _list(android, rest)
    if verb == "reset":
        return _reset(android)
    if verb not in ("enable", "disable", "set") or len(rest) != 1:
        return printed(f"Unknown command: {' '.join(arguments)}\n", NEGATIVE)
    return _set(android, rest[0]) if verb == "set" else _enable(android, rest[0], on=verb == "enable")


def enabled(android: Android) -> list[str]:
    """Return the enabled input methods, as package/class."""
    names = android.settings["secure"]["enabled_input_methods"].split(":")
    return [name for name in android.keyboards if name in names]


def _user(android: Android) -> str:
    """Return the end of the answers to ime. Android 9 knows one user."""
    return " for user #0" if android.version > 9 else ""


def _reset(android: Android) -> Result:
    _choose(android, [STOCK_KEYBOARD], STOCK_KEYBOARD)
    heading, names = f"Reset current and enabled IMEs{_user(android)}", (STOCK_KEYBOARD, STOCK_KEYBOARD)
    if android.version < 10:
        return printed("{}\nNewly selected IME:\n  {}\nNewly enabled IMEs:\n  {}\n".format(heading, *names))
    return printed("{}\n  Selected: {}\n   Enabled: {}\n".format(heading, *names))


def _unknown(android: Android, name: str, done: str) -> Result:
    if android.version < 10:
        raise Raised(f"java.lang.IllegalArgumentException: Unknown id: {name}")
    return failed(f"Unknown input method {name} cannot be {done}{_user(android)}", NEGATIVE)


def _choose(android: Android, names: list[str], selected: str) -> None:
    secure = android.settings["secure"]
    secure["enabled_input_methods"], secure["default_input_method"] = ":".join(names), selected


def _list(android: Android, flags: list[str]) -> Result:
    names = android.keyboards if "-a" in flags else enabled(android)
    if "-s" in flags:
        return printed("".join(f"{name}\n" for name in names))
    return printed(
        "".join(
            f"{name}:\n  mId={name} mSettingsActivityName=null mIsVrOnly=false\n"
            f"  mIsDefaultResId=0x0\n  Service:\n    packageName={name.split('/')[0]}\n"
            for name in names
        )
    )


def _enable(android: Android, name: str, *, on: bool) -> Result:
    if on and name not in android.keyboards:
        return _unknown(android, name, "enabled")
    names = enabled(android)
    already = "already" if (name in names) == on else "now"
    left = [*(other for other in names if other != name), *([name] if on else [])]
    # Android falls back to another enabled keyboard when the selected one is disabled.
    selected = android.keyboard if on or android.keyboard != name else next(iter(left), STOCK_KEYBOARD)
    _choose(android, left, selected)
    return printed(f"Input method {name}: {already} {'enabled' if on else 'disabled'}{_user(android)}\n")


def _set(android: Android, name: str) -> Result:
    """Select a keyboard. Android 9 selects one that is not enabled, too."""
    if name not in (enabled(android) if android.version > 9 else android.keyboards):
        return _unknown(android, name, "selected")
    android.settings["secure"]["default_input_method"] = name
    return printed(f"Input method {name} selected{_user(android)}\n")


def broadcast(android: Android, action: str, package: str, extras: Mapping[str, str]) -> None:
    """Give a broadcast to the ADB keyboard if it is installed and selected. The keyboard drops unknown ones.

    package: the package that the broadcast is for; empty for all.
    """
    bound = android.keyboard == ADB_KEYBOARD and ADB_KEYBOARD in android.keyboards
    if not bound or package not in ("", ADB_KEYBOARD.split("/")[0]):
        return
    code = EDITOR_ACTIONS.get(action.removeprefix("ADB_ACTION_"), extras.get("code", ""))
    if action == "ADB_INPUT_TEXT":
        android.device.type_text(extras.get("msg", ""))
    elif action == "ADB_INPUT_B64":
        android.device.type_text(_decoded(extras.get("msg", "")))
    elif action == "ADB_INPUT_CHARS":
        android.device.type_text(_characters(extras.get("chars", "")))
    elif action == "ADB_INPUT_CODE":
        android.device.key(key_name(code))
    elif action == "ADB_EDITOR_CODE" or action.startswith("ADB_ACTION_"):
        if code in EDITOR_ACTIONS.values() and code != EDITOR_ACTIONS["NEXT"]:  # no screen has a next field
            android.device.key("ENTER")
    elif action == "ADB_CLEAR_TEXT":
        android.device.key("CTRL_LEFT+A")
        android.device.key("DEL")


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _characters(codes: str) -> str:
    """Return the text of code points such as "20320,22909". Two halves of a surrogate pair are one character."""
    try:
        text = "".join(chr(int(code)) for code in codes.split(","))
    except (ValueError, OverflowError):
        return ""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
