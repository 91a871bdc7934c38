"""The command am, and its broadcasts to the ADB keyboard."""

import base64
import binascii

from mobile_r1_jax.phones.simulator.android.commands import activities
from mobile_r1_jax.phones.simulator.android.failures import default_command
from mobile_r1_jax.phones.simulator.android.intents import parse_intent
from mobile_r1_jax.phones.simulator.android.shell import Result, printed
from mobile_r1_jax.phones.simulator.android.system import ADB_KEYBOARD, Android

_FOREGROUND = 0x400000  # the flag that am adds to every broadcast


def am(android: Android, arguments: list[str], stdin: bytes) -> Result:
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    handler = {
        "start": activities.start,
        "start-activity": activities.start,
        "force-stop": activities.force_stop,
        "broadcast": _broadcast,
        "stack": activities.stack,
        "get-current-user": activities.current_user,
    }.get(name)
    return handler(android, rest) if handler else default_command(name, "Activity manager (activity)")


def _broadcast(android: Android, arguments: list[str]) -> Result:
    """Send a broadcast to the ADB keyboard if it is selected. As on Android, the output never shows who received it."""
    intent = parse_intent(arguments).intent
    intent.flags |= _FOREGROUND
    if android.keyboard == ADB_KEYBOARD and intent.package in ("", ADB_KEYBOARD.split("/")[0]):
        _keyboard_received(android, intent.action, intent.extras)
    return printed(f"Broadcasting: {intent.text(android.version)}\nBroadcast completed: result=0\n")


def _keyboard_received(android: Android, action: str, extras: dict[str, str]) -> None:
    if action == "ADB_INPUT_TEXT":
        android.device.type_text(extras.get("msg", ""))
    elif action == "ADB_INPUT_B64":
        try:
            text = base64.b64decode(extras.get("msg", ""), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return  # the keyboard drops invalid text
        android.device.type_text(text)
    elif action == "ADB_CLEAR_TEXT":
        android.device.key("CLEAR")
