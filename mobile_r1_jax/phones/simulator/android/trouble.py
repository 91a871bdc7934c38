"""Trouble of a simulated phone in its Android and on its wire; `simulator.trouble` decides when it begins."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from mobile_r1_jax.phones.simulator.android.announcing import Connections
from mobile_r1_jax.phones.simulator.android.wire import CNXN, OPEN, WRTE, Connection, Handler, Message, Stream
from mobile_r1_jax.phones.simulator.interruptions import INTERRUPTIONS
from mobile_r1_jax.phones.simulator.screen import one_colour
from mobile_r1_jax.phones.simulator.trouble import Event, Schedule, Trouble

if TYPE_CHECKING:
    from mobile_r1_jax.phones.simulator.android.system import Android

AUTH = int.from_bytes(b"AUTH", "little")
_TOKEN, _SIGNATURE = 1, 2  # the phone asks for a signature; the server signs
_TOKEN_BYTES = 20
_CONTROL = "cmd simulator"  # the channel of tests; it causes no trouble
_LAST_REFUSING = 11  # the last Android that refuses to capture a secure page; later ones capture it black


class PhoneTrouble:
    """The present trouble of one phone. `wire` is "", offline, unauthorized, frozen or vanished.

    `choose` replaces the settings and ends what lasts.
    """

    def __init__(self) -> None:
        self.wire = ""
        self.cut_next_answer = False
        self.delay = 0.0  # seconds before the next answer
        self.connections: set[TroubledConnection] = set()
        self._pictures: dict[str, int] = {}  # truncated, black or white -> number of captures
        self._timer: asyncio.TimerHandle | None = None
        self._killing: asyncio.Task[None] | None = None
        self.schedule = Schedule(Trouble())

    def choose(self, trouble: Trouble) -> None:
        """Begin to count for new settings."""
        self.schedule = Schedule(trouble)
        self._pictures.clear()
        self.cut_next_answer, self.delay = False, 0.0
        if self._timer is not None:
            self._timer.cancel()
        self._recover()

    def count_request(self, android: Android, service: str) -> None:
        """Count a request, and begin the trouble that is due."""
        if _CONTROL not in service:
            for event in self.schedule.next(screenshot="screencap" in service):
                self._begin(android, event)

    def capture(self, android: Android) -> bytes | None:
        """Return the PNG of a capture; None if Android refuses it."""
        if android.device.secure and android.version <= _LAST_REFUSING:
            return None
        png = android.device.screenshot()
        if android.device.secure:
            png = one_colour(android.device.size, "black")
        for kind in [kind for kind, left in self._pictures.items() if left > 0]:
            self._pictures[kind] -= 1
            png = png[: len(png) // 2] if kind == "truncated" else one_colour(android.device.size, kind)
        return png

    def _begin(self, android: Android, event: Event) -> None:
        kind, lasts = event.kind, event.lasts
        if kind in INTERRUPTIONS:
            android.device.interrupt(kind, lasts, self.schedule.rng, android.version)
        elif kind == "keyboard_lost":
            android.lose_keyboard()
        elif kind == "latency":
            self.delay = lasts
        elif kind == "disconnect":
            self.cut_next_answer = True
        elif kind == "server_killed":
            host, _, port = self.schedule.trouble.adb_server.rpartition(":")
            self._killing = asyncio.get_running_loop().create_task(_kill_server(host, int(port)))
        elif kind in ("truncated", "black", "white"):
            self._pictures[kind] = int(lasts)
        elif not self.wire:
            self.wire = kind
            self._timer = asyncio.get_running_loop().call_later(lasts, self._recover)
            if kind != "frozen":
                self._drop_connections()

    def _recover(self) -> None:
        ended, self.wire = self.wire, ""
        if ended == "frozen":
            for connection in list(self.connections):
                connection.thaw()
        elif ended:
            self._drop_connections()  # connections without an answer: the server tries again

    def _drop_connections(self) -> None:
        for connection in list(self.connections):
            connection.drop()


class TroubledConnection(Connection):
    """A connection of a phone that may have trouble. Without trouble it is a plain Connection."""

    def __init__(
        self, banner: bytes, resolve: Callable[[str], Handler | None], connections: Connections, android: Android
    ) -> None:
        super().__init__(banner, lambda service: self._troubled(resolve(service)), connections)
        self._android, self._trouble = android, android.trouble
        self._held: list[Message] = []  # what a frozen phone has not read yet
        self._cutting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._trouble.connections.add(self)
        if self._trouble.wire == "vanished":
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._trouble.connections.discard(self)
        super().connection_lost(exc)

    def receive(self, message: Message) -> None:
        if message.command == OPEN and not self._trouble.wire:
            self._trouble.count_request(self._android, message.payload.decode(errors="replace"))
        if not self._trouble.wire:
            super().receive(message)
        elif self._trouble.wire == "frozen":
            self._held.append(message)
        elif self._trouble.wire == "unauthorized" and (message.command == CNXN or message.first == _SIGNATURE):
            self.send(Message(AUTH, _TOKEN, 0, os.urandom(_TOKEN_BYTES)))

    def send(self, message: Message) -> None:
        if not (self._cutting and message.command == WRTE):
            super().send(message)
            return
        self._cutting = False
        super().send(message._replace(payload=message.payload[: len(message.payload) // 2]))
        if self.transport is not None:
            self.transport.close()  # after what is written

    def thaw(self) -> None:
        """Read what arrived while the phone was frozen."""
        held, self._held = self._held, []
        for message in held:
            super().receive(message)  # no further trouble

    def _troubled(self, handler: Handler | None) -> Handler | None:
        """Return the handler of a service with the delay and the cut that are due."""
        delay, self._trouble.delay = self._trouble.delay, 0.0
        cut, self._trouble.cut_next_answer = self._trouble.cut_next_answer, False
        if handler is None or not (delay or cut):
            return handler

        async def serve(stream: Stream) -> None:
            await asyncio.sleep(delay)
            self._cutting = cut
            try:
                await handler(stream)
            finally:
                if cut:
                    self.drop()

        return serve


async def _kill_server(host: str, port: int) -> None:
    with suppress(OSError):
        _, writer = await asyncio.open_connection(host, port)
        writer.write(b"0009host:kill")
        await writer.drain()
        writer.close()
