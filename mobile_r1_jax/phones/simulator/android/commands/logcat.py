"""The command logcat."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mobile_r1_jax.phones.simulator.android.commands.toybox.options import UsageFault, tool
from mobile_r1_jax.phones.simulator.android.log import LEVELS, Line
from mobile_r1_jax.phones.simulator.android.shell import Process
from mobile_r1_jax.phones.simulator.android.system import Android

_BUFFERS = {"main", "system", "crash"}
_FORMATS = ("threadtime", "brief", "time", "raw", "tag")
_USAGE = "Usage: logcat [-d|-c] [-v FORMAT] [-t COUNT] [-T COUNT] [-b BUFFER] [-s] [TAG:LEVEL...]"
_POLL = 0.1  # seconds between two looks at the log


@tool()
async def logcat(android: Android, process: Process) -> int:
    """`logcat [-v FORMAT] [-t COUNT | -T COUNT] [-b BUFFER] [-s] [TAG:LEVEL…]`; -d and -t end after the present lines.

    `logcat -c` clears the log.
    """
    call = _parse(process.arguments)
    if "-c" in call.switches:
        android.log.clear(call.buffers)
        return 0
    number = android.log.written
    write = _writer(process, call.form)
    lines = call.chosen(android.log.lines)
    write(lines if call.most is None else lines[len(lines) - min(call.most, len(lines)) :])
    while "-d" not in call.switches:
        await process.shell.session.sleep(_POLL)
        write(call.chosen(line for line in android.log.lines if line.number >= number))
        number = android.log.written
    return 0


@dataclass(frozen=True)
class _Call:
    switches: set[str]
    buffers: set[str]
    form: str
    most: int | None  # lines of the past; None: all
    default: str  # the level of tags without one
    levels: dict[str, str]  # by tag

    def chosen(self, lines: Iterable[Line]) -> list[Line]:
        return [line for line in lines if line.buffer in self.buffers and self._is_loud(line)]

    def _is_loud(self, line: Line) -> bool:
        return LEVELS.index(line.level) >= LEVELS.index(self.levels.get(line.tag, self.default))


def _parse(arguments: list[str]) -> _Call:
    """Return the call. Raises UsageFault."""
    switches, values, levels = set(), {}, {}
    words = iter(arguments)
    for word in words:
        if word in ("-d", "-c", "-s"):
            switches.add(word)
        elif word in ("-v", "-t", "-T", "-b"):
            values[word] = next(words, "")
        elif word.startswith("-"):
            raise UsageFault(f"Unknown option {word}\n{_USAGE}")
        else:
            tag, _, level = word.partition(":")
            levels[tag] = level.upper() or "V"
    buffers = set(values.get("-b", "default").split(","))
    buffers = _BUFFERS if buffers & {"all", "default"} else buffers
    if wrong := sorted(buffers - _BUFFERS):
        raise UsageFault(f"Unknown buffer '{wrong[0]}'")
    form = values.get("-v", "threadtime")
    if form not in _FORMATS:
        raise UsageFault(f'Invalid parameter "{form}" to -v')
    for option in ("-t", "-T"):
        if not values.get(option, "0").isdecimal():
            raise UsageFault(f'Invalid value "{values[option]}" to {option}')
    if wrong := [level for level in levels.values() if level not in LEVELS or len(level) != 1]:
        raise UsageFault(f"Invalid filter expression '{wrong[0]}'")
    most = values.get("-t", values.get("-T"))
    switches |= {"-d"} if "-t" in values else set()
    default = levels.pop("*", "S" if "-s" in switches else "V")
    return _Call(switches, buffers, form, None if most is None else int(most), default, levels)


def _writer(process: Process, form: str) -> Callable[[list[Line]], None]:
    """Return a function that prints lines, with a heading before the first line of each buffer."""
    begun: set[str] = set()

    def write(lines: list[Line]) -> None:
        for line in lines:
            if line.buffer not in begun:
                begun.add(line.buffer)
                process.print(f"--------- beginning of {line.buffer}\n")
            process.print(_text(line, form) + "\n")

    return write


def _text(line: Line, form: str) -> str:
    moment = time.strftime("%m-%d %H:%M:%S", time.gmtime(line.when)) + f".{int(line.when % 1 * 1000):03d}"
    return {
        "threadtime": f"{moment} {line.process:5} {line.process:5} {line.level} {line.tag:<8}: {line.text}",
        "brief": f"{line.level}/{line.tag:<8}({line.process:5}): {line.text}",
        "time": f"{moment} {line.level}/{line.tag:<8}({line.process:5}): {line.text}",
        "tag": f"{line.level}/{line.tag:<8}: {line.text}",
        "raw": line.text,
    }[form]
