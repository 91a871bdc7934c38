"""The command logcat."""

import time

from mobile_r1_jax.phones.simulator.android.log import LEVELS, Line
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android

_BUFFERS = {"main", "system", "crash"}
_FORMATS = ("threadtime", "brief", "time", "raw", "tag")
_USAGE = "Usage: logcat -d|-c [-v FORMAT] [-t COUNT] [-b BUFFER] [-s] [TAG:LEVEL...]"


def logcat(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`logcat -d [-v FORMAT] [-t COUNT] [-b BUFFER] [-s] [TAG:LEVEL…]` or `-c`. It cannot follow the log."""
    switches, values, filters = set(), {}, {}
    words = iter(arguments)
    for word in words:
        if word in ("-d", "-c", "-s"):
            switches.add(word)
        elif word in ("-v", "-t", "-b"):
            values[word] = next(words, "")
        elif word.startswith("-"):
            return failed(f"logcat: Unknown option {word}\n{_USAGE}")
        else:
            tag, _, level = word.partition(":")
            filters[tag] = level.upper() or "V"
    buffers = set(values.get("-b", "main,system,crash").split(","))
    buffers = set(_BUFFERS) if buffers & {"all", "default"} else buffers
    if wrong := sorted(buffers - _BUFFERS):
        return failed(f"logcat: Unknown buffer '{wrong[0]}'")
    if values.get("-v", "threadtime") not in _FORMATS:
        return failed(f'logcat: Invalid parameter "{values["-v"]}" to -v')
    if not values.get("-t", "0").isdecimal():
        return failed(f'logcat: Invalid value "{values["-t"]}" to -t')
    if wrong := [level for level in filters.values() if level not in LEVELS or len(level) != 1]:
        return failed(f"logcat: Invalid filter expression '{wrong[0]}'")
    if "-c" in switches:
        android.log.clear(buffers)
        return Result()
    if "-d" not in switches and "-t" not in values:
        return failed(f"logcat: following the log is not supported: use -d\n{_USAGE}")
    default = filters.pop("*", "S" if "-s" in switches else "V")
    chosen = [
        line
        for line in android.log.lines
        if line.buffer in buffers and LEVELS.index(line.level) >= LEVELS.index(filters.get(line.tag, default))
    ]
    if "-t" in values:
        chosen = chosen[len(chosen) - min(int(values["-t"]), len(chosen)) :]
    return printed("".join(_with_headings(chosen, values.get("-v", "threadtime"))))


def _with_headings(lines: list[Line], form: str) -> list[str]:
    """Return the lines as text, with a heading before the first line of each buffer."""
    texts, begun = [], set()
    for line in lines:
        if line.buffer not in begun:
            begun.add(line.buffer)
            texts.append(f"--------- beginning of {line.buffer}\n")
        texts.append(_text(line, form) + "\n")
    return texts


def _text(line: Line, form: str) -> str:
    moment = time.strftime("%m-%d %H:%M:%S", time.gmtime(line.when)) + f".{int(line.when % 1 * 1000):03d}"
    return {
        "threadtime": f"{moment} {line.process:5} {line.process:5} {line.level} {line.tag:<8}: {line.text}",
        "brief": f"{line.level}/{line.tag:<8}({line.process:5}): {line.text}",
        "time": f"{moment} {line.level}/{line.tag:<8}({line.process:5}): {line.text}",
        "tag": f"{line.level}/{line.tag:<8}: {line.text}",
        "raw": line.text,
    }[form]
