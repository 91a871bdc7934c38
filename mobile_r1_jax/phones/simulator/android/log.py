"""The log of a simulated phone, which logcat prints."""

import time
from collections import deque
from dataclasses import dataclass, field

LEVELS = "VDIWEFS"  # from verbose to silent


@dataclass(frozen=True)
class Line:
    """One line. `when` is in seconds since 1970; `buffer` is main, system or crash; `number` counts all lines."""

    number: int
    when: float
    level: str
    tag: str
    text: str
    buffer: str
    process: int


@dataclass
class Log:
    """The last lines of all buffers, oldest first."""

    lines: deque[Line] = field(default_factory=lambda: deque(maxlen=1000))
    written: int = 0  # lines, also those that are gone

    def write(self, tag: str, text: str, *, level: str = "I", buffer: str = "system", process: int = 1000) -> None:
        for line in text.split("\n"):
            self.lines.append(Line(self.written, time.time(), level, tag, line, buffer, process))
            self.written += 1

    def clear(self, buffers: set[str]) -> None:
        kept = [line for line in self.lines if line.buffer not in buffers]
        self.lines.clear()
        self.lines.extend(kept)
