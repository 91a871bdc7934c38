"""The command am, and its broadcasts to the ADB keyboard."""

from mobile_r1_jax.phones.simulator.android.commands import activities, keyboard
from mobile_r1_jax.phones.simulator.android.failures import default_command
from mobile_r1_jax.phones.simulator.android.intents import parse_intent
from mobile_r1_jax.phones.simulator.android.shell import Result, printed
from mobile_r1_jax.phones.simulator.android.system import Android

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
    keyboard.broadcast(android, intent.action, intent.package, intent.extras)
    return printed(f"Broadcasting: {intent.text(android.version)}\nBroadcast completed: result=0\n")
