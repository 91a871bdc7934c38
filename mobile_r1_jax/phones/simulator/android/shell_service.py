"""adbd's shell services: a command or an interactive shell, raw or on a terminal, with or without packets.

With packets ("shell,v2"), standard input, both outputs and the exit status travel as packets: a kind, a length, data.
Without them the outputs are one stream, and there is no exit status.
"""

from __future__ import annotations

import asyncio
import struct

from mobile_r1_jax.phones.simulator.android.shell import Host, Input, Session, Shell
from mobile_r1_jax.phones.simulator.android.shell.interactive import run_lines
from mobile_r1_jax.phones.simulator.android.shell.streams import Killed
from mobile_r1_jax.phones.simulator.android.terminal import Terminal
from mobile_r1_jax.phones.simulator.android.wire import Stream, StreamClosed

_STDIN, _EXIT, _CLOSE_STDIN = 0, 3, 4  # kinds of packets; 1 and 2 are the outputs
_HEADER = struct.Struct("<BI")
_LARGEST_PACKET = 1 << 20
_LINGER = 5.0  # seconds for which a shell continues after its client has hung up


async def serve_shell(host: Host, stream: Stream, line: str, *, packets: bool, terminal: bool) -> None:
    """Run a command line, or an interactive shell if it is empty, for the client of `stream`."""
    client = _Client(host, stream, packets=packets, terminal=terminal)
    try:
        await client.run(line)
    finally:
        client.end()


class _Client:
    """The client's end of a shell."""

    def __init__(self, host: Host, stream: Stream, *, packets: bool, terminal: bool) -> None:
        self._stream, self._packets = stream, packets
        self._buffer = bytearray()
        self._at_end = False
        self._writing = asyncio.Lock()
        self._session = Session(host, self._flush)
        out, error = self._session.writer(1), self._session.writer(1 if terminal else 2)
        self._terminal = Terminal(out) if terminal else None
        self._pump = asyncio.get_running_loop().create_task(self._type()) if terminal else None
        more = self._receive if self._terminal is None else self._terminal.read
        self._shell = Shell(self._session, Input(more=more), out, error)
        self._task = asyncio.current_task()
        stream.on_close = self._hung_up

    async def run(self, line: str) -> None:
        if line.strip():
            status = await self._shell.run(line)
        else:
            status = await self._shell.finished(run_lines(self._shell, self._terminal))
        async with self._writing:
            end = _HEADER.pack(_EXIT, 1) + bytes([status & 255]) if self._packets else b""
            await self._stream.write(self._encoded() + end)

    def end(self) -> None:
        """Disconnect from the stream."""
        self._stream.on_close = lambda: None
        if self._pump is not None:
            self._pump.cancel()

    def _hung_up(self) -> None:
        if self._task is not None:
            linger = 0.0 if self._terminal is not None else _LINGER
            asyncio.get_running_loop().call_later(linger, self._task.cancel)

    def _encoded(self) -> bytes:
        """Take the output so far and return its bytes for the client."""
        chunks, self._session.chunks[:] = tuple(self._session.chunks), []
        if self._terminal is not None:
            chunks = tuple((to, data.replace(b"\n", b"\r\n")) for to, data in chunks)
        if not self._packets:
            return b"".join(data for _, data in chunks)
        return b"".join(
            _HEADER.pack(to, len(piece)) + piece
            for to, data in chunks
            for piece in (data[at : at + _LARGEST_PACKET] for at in range(0, len(data), _LARGEST_PACKET))
        )

    async def _flush(self) -> None:
        """Send the output so far. Raises Killed if the client has hung up."""
        async with self._writing:
            if not self._session.chunks:
                return
            try:
                await self._stream.write(self._encoded())
            except StreamClosed as closed:
                raise Killed from closed

    async def _receive(self) -> bytes:
        """Return the next bytes of the client's standard input; b"" at its end."""
        while not self._at_end:
            try:
                self._buffer += await self._stream.read()
            except StreamClosed:
                self._at_end = True
            if data := self._unpacked():
                return data
        return b""

    def _unpacked(self) -> bytes:
        """Take the complete packets of the buffer and return the standard input in them."""
        if not self._packets:
            data = bytes(self._buffer)
            self._buffer.clear()
            return data
        data = b""
        while len(self._buffer) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._buffer)
            end = _HEADER.size + length
            if len(self._buffer) < end:
                break
            if kind == _STDIN:
                data += self._buffer[_HEADER.size : end]
            self._at_end = self._at_end or kind == _CLOSE_STDIN
            del self._buffer[:end]
        return data

    async def _type(self) -> None:
        """Pass what the client types to the terminal."""
        assert self._terminal is not None
        while data := await self._receive():
            self._terminal.receive(data)
            try:
                await self._flush()
            except Killed:
                break
        self._terminal.hang_up()
