"""A terminal's line discipline: echo, corrections, Ctrl-C, Ctrl-D, and lines instead of characters."""

import asyncio
from collections.abc import Callable

_INTERRUPT, _END, _ERASE_LINE, _ERASE_WORD = 0x03, 0x04, 0x15, 0x17
_ERASE = (0x08, 0x7F)
_ENTER = (0x0A, 0x0D)


class Terminal:
    """A terminal. `receive` takes the characters that a person types, `read` returns lines.

    echo: shows characters to the person. `running` is the command that Ctrl-C ends.
    """

    def __init__(self, echo: Callable[[bytes], None]) -> None:
        self._echo = echo
        self._line = bytearray()
        self._lines: list[bytes] = []  # b"" is the end of the input
        self._hung_up = False
        self._news = asyncio.Event()
        self.running: asyncio.Task[int] | None = None
        self.interrupted = False

    def receive(self, data: bytes) -> None:
        for byte in data:
            if byte in _ENTER:
                self._echo(b"\n")
                self._enter(bytes(self._line) + b"\n")
            elif byte == _INTERRUPT:
                self._interrupt()
            elif byte == _END:
                self._enter(bytes(self._line))
            elif byte in _ERASE or byte in (_ERASE_LINE, _ERASE_WORD):
                self._erase(byte)
            elif byte >= 0x20 or byte == 0x09:
                self._line.append(byte)
                self._echo(bytes([byte]))

    def hang_up(self) -> None:
        """End the input for good."""
        self._hung_up = True
        self._news.set()

    async def read(self) -> bytes:
        """Return the next line with its newline, or what was typed before Ctrl-D; b"" at the end."""
        while not self._lines:
            if self._hung_up:
                return b""
            self._news.clear()
            await self._news.wait()
        return self._lines.pop(0)

    def _enter(self, line: bytes) -> None:
        self._line.clear()
        self._lines.append(line)
        self._news.set()

    def _interrupt(self) -> None:
        self._echo(b"^C\n")
        self._lines.clear()
        if self.running is not None:
            self._line.clear()
            self.running.cancel()
        else:
            self.interrupted = True
            self._enter(b"\n")

    def _erase(self, byte: int) -> None:
        kept = bytes(self._line)
        if byte == _ERASE_LINE:
            kept = b""
        elif byte == _ERASE_WORD:
            kept = kept.rstrip(b" ")
            kept = kept[: kept.rfind(b" ") + 1]
        else:
            kept = kept.decode(errors="surrogateescape")[:-1].encode(errors="surrogateescape")
        gone = self._line[len(kept) :].decode(errors="replace")
        self._line[:] = kept
        self._echo(b"\b \b" * len(gone))
