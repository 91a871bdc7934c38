"""The command screencap."""

from mobile_r1_jax.phones.simulator.android.files import FileError
from mobile_r1_jax.phones.simulator.android.shell import Result, failed
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.screen import one_colour

_SEVERAL = (
    "[Warning] Multiple displays were found, but no display id was specified! Defaulting to the first display found, "
    "however this default is not guaranteed to be consistent across captures. A display {0}"
    'See "dumpsys SurfaceFlinger --display-id" for valid display IDs.\n'
)
_NEWER, _OLDER = "ID can be specified with the [-d display-id] option.\n", "id should be specified.\n"


def screencap(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`screencap [-p] [-d DISPLAY] [FILE]`: PNG to the file, or to standard output."""
    words, paths, display = iter(arguments), [], ""
    for word in words:
        if word == "-d":
            display = next(words, "")
        elif not word.startswith("-"):
            paths.append(word)
    if "-p" not in arguments and not (paths and paths[0].endswith(".png")):
        return failed("screencap: raw pixels are not supported: use -p")
    displays = list(android.hardware.displays)
    if android.version == 9:  # displays have small numbers
        displays = list(map(str, range(len(displays))))
    if "-d" in arguments and display not in displays:
        return failed("Failed to take screenshot. Status: -2" if android.version < 14 else "Capturing failed.")
    png = _picture(android, displays.index(display or displays[0]))
    if png is None:
        return Result(status=1)
    several = android.version > 10 and len(displays) > 1 and not display
    warning = _SEVERAL.format(_OLDER if android.version < 14 else _NEWER) if several else ""
    chunks = ((2, warning.encode()),) if warning else ()
    if not paths:
        return Result((*chunks, (1, png)))
    try:
        android.files.write(paths[0], png)
    except FileError as error:
        return failed(f"Error opening file: {error}")
    return Result(chunks)


def _picture(android: Android, position: int) -> bytes | None:
    """Return PNG bytes of a display: the apps' on the first one that is on, black on all others. None: refused."""
    states = list(android.hardware.displays.values())
    shown = states[position] and position == states.index(True)
    return android.trouble.capture(android) if shown else one_colour(android.device.size, "black")
