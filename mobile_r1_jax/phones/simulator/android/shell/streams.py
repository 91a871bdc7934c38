"""The connections of a running command: its standard input, its outputs, and its session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mobile_r1_jax.phones.simulator.android.files import Files

if TYPE_CHECKING:
    from mobile_r1_jax.phones.simulator.android.shell.interpreter import Shell

Write = Callable[[bytes], None]

_BREATH = 64  # commands after which a busy shell lets other tasks run
_LONGEST_RUN = 500_000  # commands without a wait, after which the system kills a shell
_LARGEST_PENDING = 1 << 18  # bytes of output


class Killed(Exception):
    """The system killed the process with SIGKILL."""


class Input:
    """A standard input: bytes that are there, and a source of more, which returns b"" at the end.

    A terminal may continue after an end: Ctrl-D ends the input of one reader.
    """

    def __init__(self, data: bytes = b"", more: Callable[[], Awaitable[bytes]] | None = None) -> None:
        self._data, self._more = data, more

    async def some(self) -> bytes:
        """Return the next bytes, as soon as there are any; b"" at the end."""
        if not self._data and self._more is not None:
            self._data = await self._more()
        data, self._data = self._data, b""
        return data

    async def rest(self) -> bytes:
        """Return all bytes up to the end."""
        pieces = []
        while piece := await self.some():
            pieces.append(piece)
        return b"".join(pieces)

    async def line(self) -> bytes:
        """Return the next line with its newline, which the last line may lack; b"" at the end."""
        read = b""
        while piece := await self.some():
            before, newline, after = piece.partition(b"\n")
            read += before + newline
            if newline:
                self._data = after
                break
        return read

    async def exactly(self, count: int) -> bytes:
        """Return `count` bytes, or fewer at the end."""
        read = bytearray()
        while len(read) < count and (piece := await self.some()):
            read += piece
        self._data = bytes(read[count:])
        return bytes(read[:count])


class Host(Protocol):
    """The system that a shell runs on: its files, its programs, and the commands that run in the background."""

    files: Files
    background: set[asyncio.Task[int]]

    @property
    def not_found(self) -> str:
        """The shell's message for an unknown command."""
        ...

    def program(self, name: str) -> Program | None: ...


async def _no_flush() -> None:
    pass


@dataclass
class Session:
    """What all shells of one client share: the system, the output for the client and the limits.

    flush: sends `chunks` to the client. It is called before a shell waits.
    """

    host: Host
    flush: Callable[[], Awaitable[None]] = _no_flush
    chunks: list[tuple[int, bytes]] = field(default_factory=list)
    jobs: dict[int, asyncio.Task[int]] = field(default_factory=dict)  # in the background, by process id
    commands: int = 0  # since the last wait
    pending: int = 0  # bytes written since the last wait

    def writer(self, descriptor: int) -> Write:
        def write(data: bytes) -> None:
            if data:
                self.chunks.append((descriptor, data))
                self.pending += len(data)

        return write

    async def breathe(self) -> None:
        """Let other tasks run. Raises Killed if the shell has run for too long without a wait."""
        if self.commands > _LONGEST_RUN:
            raise Killed
        if self.pending > _LARGEST_PENDING:
            self.pending = 0
            await self.flush()
        await asyncio.sleep(0)

    def due(self) -> bool:
        """Count a command. Return whether it is time to `breathe`."""
        self.commands += 1
        return self.commands % _BREATH == 0 or self.pending > _LARGEST_PENDING

    async def sleep(self, seconds: float) -> None:
        await self.flush()
        await asyncio.sleep(seconds)
        self.commands = self.pending = 0


@dataclass(slots=True)
class Process:
    """One running program."""

    shell: Shell
    name: str
    arguments: list[str]
    stdin: Input
    out: Write
    error: Write

    @property
    def directory(self) -> str:
        return self.shell.directory

    @property
    def files(self) -> Files:
        """The files, seen from the working directory."""
        return self.shell.files

    def print(self, text: str) -> None:
        self.out(text.encode(errors="surrogateescape"))

    def complain(self, message: str) -> None:
        self.error(f"{self.name}: {message}\n".encode(errors="surrogateescape"))

    def fail(self, message: str, status: int = 1) -> int:
        """Print an error message. Return the exit status."""
        self.complain(message)
        return status


Program = Callable[[Process], Awaitable[int]]
