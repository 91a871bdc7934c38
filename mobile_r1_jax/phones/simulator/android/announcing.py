"""A phone announces itself to an adb server, as an emulator does at its boot, and again after each loss."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

_PAUSE, _LONGEST_PAUSE = 0.3, 5.0  # seconds between two announcements; the server drops the old connection meanwhile
_MOST_WHILE_CONNECTED = 10
_LIMIT = 5.0  # seconds for one announcement


class Droppable(Protocol):
    """An open connection."""

    def drop(self) -> None: ...


@dataclass
class Connections:
    """The connections of adb servers to one phone. `opened` counts all there ever were."""

    open: set[Droppable] = field(default_factory=set)
    opened: int = 0
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, connection: Droppable) -> None:
        self.open.add(connection)
        self.opened += 1

    def remove(self, connection: Droppable) -> None:
        self.open.discard(connection)
        self.lost.set()

    def drop(self) -> None:
        """Abort all connections, as a phone does that reboots."""
        for connection in list(self.open):
            connection.drop()


async def keep_announced(port: int, server: tuple[str, int], connections: Connections) -> None:
    """Announce the phone on localhost `port` to the adb server at `server` until it connects, and after each loss.

    The serial becomes `emulator-(port - 1)`. A server that does not answer is asked again. While other connections are
    open, this ends after some attempts: the server may know the phone already.
    """
    while True:
        opened, attempts = connections.opened, 0
        while connections.opened == opened and not (connections.open and attempts >= _MOST_WHILE_CONNECTED):
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(_LIMIT):
                    await _announce(port, server)
            await asyncio.sleep(min(_PAUSE * 1.5**attempts, _LONGEST_PAUSE))
            attempts = min(attempts + 1, 100)
        await connections.lost.wait()
        connections.lost.clear()
        await asyncio.sleep(_PAUSE)


async def _announce(port: int, server: tuple[str, int]) -> None:
    request = f"host:emulator:{port}".encode()
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(b"%04x" % len(request) + request)
        await reader.read()  # the server sends no answer and closes after its attempt
    finally:
        writer.close()
