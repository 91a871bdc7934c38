"""The phone's side of adb's device protocol: messages and streams.

A message is a 24-byte header of six little-endian words (command, two arguments, payload length, checksum, command
inverted), then the payload. The server opens streams. Each side may have one unacknowledged WRTE per stream. Both sides
close a stream. They use the lower of their protocol versions: from 0x01000001 on, the checksum is zero. There is no
authentication.
"""

import asyncio
import logging
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

from mobile_r1_jax.phones.simulator.android.announcing import Connections

CNXN, OPEN, OKAY, WRTE, CLSE = (
    int.from_bytes(name, "little") for name in (b"CNXN", b"OPEN", b"OKAY", b"WRTE", b"CLSE")
)
VERSION = 0x01000001  # the first version without checksums
MAX_PAYLOAD = 1 << 20
_HEADER = struct.Struct("<6I")

log = logging.getLogger(__name__)


class WireError(Exception):
    """The other side violated the protocol. The connection must end."""


class StreamClosed(Exception):
    """The other side closed a stream in use."""


class Message(NamedTuple):
    command: int
    first: int
    second: int
    payload: bytes = b""


def encode(message: Message, version: int = VERSION) -> bytes:
    """Return the bytes of a message in a protocol version. The checksum is the sum of the payload's bytes."""
    command, first, second, payload = message
    checksum = sum(payload) if version < VERSION else 0
    return _HEADER.pack(command, first, second, len(payload), checksum, command ^ 0xFFFFFFFF) + payload


class Decoder:
    """A decoder from a byte stream, in pieces of any size, to messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that `data` completes. Raises WireError on an invalid header."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            command, first, second, length, _, magic = _HEADER.unpack_from(self._buffer)
            if magic != command ^ 0xFFFFFFFF or length > MAX_PAYLOAD:
                raise WireError(f"bad adb header: command {command:#x}, magic {magic:#x}, length {length}")
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            yield Message(command, first, second, payload)


class Stream:
    """One open service: an ordered stream of bytes in both directions."""

    def __init__(self, connection: "Connection", local: int, remote: int) -> None:
        self._connection = connection
        self._local, self._remote = local, remote
        self._received: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._unacknowledged = False
        self.closed = False
        self.on_close: Callable[[], None] = lambda: None

    async def read(self) -> bytes:
        """Return the next piece from the server, never empty. Raises StreamClosed at the end of the stream."""
        while not self._received:
            if self.closed:
                raise StreamClosed
            await self._wait()
        data = self._received.popleft()
        # Acknowledge only when read, so that a slow handler slows the sender down.
        if not self.closed:
            self._connection.send(Message(OKAY, self._local, self._remote))
        return data

    async def write(self, data: bytes) -> None:
        """Send `data` and wait until the server has acknowledged it. Raises StreamClosed if the stream closes."""
        step = self._connection.max_payload
        for start in range(0, len(data), step):
            if self.closed:
                raise StreamClosed
            self._unacknowledged = True
            self._connection.send(Message(WRTE, self._local, self._remote, data[start : start + step]))
            while self._unacknowledged:
                if self.closed:
                    raise StreamClosed
                await self._wait()

    def close(self) -> None:
        """Close the stream. A second call does nothing."""
        if not self.closed:
            self._connection.send(Message(CLSE, self._local, self._remote))
            self.hung_up()

    def drop_connection(self) -> None:
        """Abort the connection that the stream belongs to."""
        self._connection.drop()

    def accept(self) -> None:
        self._connection.send(Message(OKAY, self._local, self._remote))

    def acknowledged(self) -> None:
        self._unacknowledged = False
        self._news.set()

    def arrived(self, data: bytes) -> None:
        self._received.append(data)
        self._news.set()

    def is_from(self, remote: int) -> bool:
        """Return whether a message with the first argument `remote` belongs to this stream."""
        return remote == self._remote

    def hung_up(self) -> None:
        self.closed = True
        self._connection.streams.pop(self._local, None)
        self._news.set()
        self.on_close()

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()


Handler = Callable[[Stream], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One connection between an adb server and a phone.

    banner: the description of the phone in CNXN. resolve: returns the handler of a service such as "exec:screencap -p",
    or None to refuse it. connections: holds this one while it is open. `receive` takes every incoming message, `send`
    every outgoing one.
    """

    def __init__(self, banner: bytes, resolve: Callable[[str], Handler | None], connections: Connections) -> None:
        self._banner, self._resolve, self._connections = banner, resolve, connections
        self._decoder = Decoder()
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_id = 1
        self.streams: dict[int, Stream] = {}
        self.max_payload = MAX_PAYLOAD
        self.version = VERSION
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        # asyncio sets it for sockets that were made with a protocol number; those of socket.create_server have none.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._connections.remove(self)
        self._hang_up()

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._decoder.feed(data):
                self.receive(message)
        except WireError as error:
            log.error("%s; connection closed", error)
            if self.transport is not None:
                self.transport.abort()

    def send(self, message: Message) -> None:
        if self.transport is not None:
            self.transport.write(encode(message, self.version))

    def drop(self) -> None:
        """Abort the connection and all services on it, as a phone does that reboots."""
        if self.transport is not None:
            self.transport.abort()
        for task in self._tasks:
            task.cancel()

    def receive(self, message: Message) -> None:
        command, first, second, payload = message
        if command == CNXN:
            self._hang_up()  # a new session of the server: its old streams are gone
            self.version, self.max_payload = min(first, VERSION), min(second, MAX_PAYLOAD)
            self.send(Message(CNXN, self.version, MAX_PAYLOAD, self._banner))
        elif command == OPEN:
            self._open(first, payload.rstrip(b"\0").decode(errors="surrogateescape"))
        elif (stream := self.streams.get(second)) is None or not (stream.is_from(first) or first == 0):
            return  # a stream that both sides have closed
        elif command == OKAY:
            stream.acknowledged()
        elif command == WRTE:
            stream.arrived(payload)
        elif command == CLSE:
            stream.close()

    def _open(self, remote: int, service: str) -> None:
        handler = self._resolve(service)
        if handler is None:
            log.info("refused service %r", service[:80])
            self.send(Message(CLSE, 0, remote))
            return
        stream = Stream(self, self._next_id, remote)
        self.streams[self._next_id] = stream
        self._next_id = self._next_id % 0xFFFFFFFF + 1
        stream.accept()
        task = asyncio.get_running_loop().create_task(_serve(handler, stream, service))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hang_up(self) -> None:
        for stream in list(self.streams.values()):
            stream.hung_up()


async def _serve(handler: Handler, stream: Stream, service: str) -> None:
    """Run one handler and always close its stream. An open stream would block the client forever."""
    try:
        await handler(stream)
    except StreamClosed:
        pass
    except Exception:
        log.exception("service %r failed", service[:80])
    finally:
        stream.close()
