"""The command wm, which is also `cmd window`."""

import re

from mobile_r1_jax.phones.simulator.android.failures import NEGATIVE, default_command
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.screen import check_size


def wm(android: Android, arguments: list[str], stdin: bytes) -> Result:
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if verb == "size":
        return _size(android, _without_display(rest))
    if verb == "density":
        return _density(android, _without_display(rest))
    if verb == "dismiss-keyguard":
        android.device.unlock()
        return Result()
    if verb == ("user-rotation" if android.version > 10 else "set-user-rotation") and android.version > 9:
        return _user_rotation(android, _without_display(rest))
    return default_command(verb, "Window manager (window)")


def _without_display(arguments: list[str]) -> list[str]:
    return arguments[2:] if arguments[:1] == ["-d"] else arguments


def _size(android: Android, arguments: list[str]) -> Result:
    """Print the size, or draw the screen at another size from now on."""
    device, physical = android.device, android.hardware.size
    if not arguments:
        override = "Override size: {}x{}\n".format(*device.size) if device.size != physical else ""
        return printed("Physical size: {}x{}\n".format(*physical) + override)
    match = re.fullmatch(r"(\d{1,9})x(\d{1,9})", arguments[0], re.ASCII)
    if arguments[0] != "reset" and match is None:
        return failed(f"Error: bad size {arguments[0]}", NEGATIVE)
    size = (int(match[1]), int(match[2])) if match else physical
    try:
        check_size(size)
    except ValueError as error:
        return failed(f"Error: bad size {arguments[0]}: {error}", NEGATIVE)
    device.size = size
    return Result()


def _density(android: Android, arguments: list[str]) -> Result:
    hardware = android.hardware
    if not arguments:
        override = f"Override density: {hardware.density}\n" if hardware.density else ""
        return printed(f"Physical density: {hardware.physical_density}\n{override}")
    if arguments[0] == "reset":
        hardware.density = 0
        return Result()
    if not arguments[0].isdecimal():
        return failed(
            f'Error: bad number java.lang.NumberFormatException: For input string: "{arguments[0]}"', NEGATIVE
        )
    if int(arguments[0]) < 72:
        return failed("Error: density must be >= 72", NEGATIVE)
    hardware.density = int(arguments[0]) if int(arguments[0]) != hardware.physical_density else 0
    return Result()


def _user_rotation(android: Android, arguments: list[str]) -> Result:
    """Print or set how the user locked the rotation. The apps of simulated phones are upright in every rotation."""
    table = android.settings["system"]
    mode, rotation = (arguments[0] if arguments else ""), (arguments[1] if len(arguments) > 1 else "")
    if not mode and android.version > 10:
        return printed(
            "free\n" if table.get("accelerometer_rotation") == "1" else f"lock {table.get('user_rotation', '0')}\n"
        )
    if mode not in ("free", "lock"):
        return failed("Error: argument needs to be either -d, free or lock.", NEGATIVE)
    if rotation not in ("", "0", "1", "2", "3"):
        return failed(f"Error: Invalid rotation: {rotation}", NEGATIVE)
    table["accelerometer_rotation"] = str(int(mode == "free"))
    if mode == "lock":
        table["user_rotation"] = rotation or "0"
    return Result()
