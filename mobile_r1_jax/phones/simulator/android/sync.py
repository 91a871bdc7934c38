"""adb's file transfer service, "sync:": STAT, LIST, SEND and RECV, and version 2: STA2, LST2 and LIS2.

A request is a four-letter name, a little-endian length and a path. The layouts are those of adb's documented
protocol: version 1 has 32-bit sizes and times, version 2 has a full stat record.
"""

import posixpath
import struct

from mobile_r1_jax.phones.simulator.android.files import FileError, Files, Status
from mobile_r1_jax.phones.simulator.android.wire import Stream, StreamClosed

_LARGEST_CHUNK = 64 * 1024
_LARGEST_PATH = 1024
_NO_ENTRY = 2  # ENOENT


async def serve_sync(stream: Stream, files: Files) -> None:
    """Answer requests until the client sends QUIT or closes the stream. An invalid request gets FAIL and ends it."""
    reader = _Reader(stream)
    while True:
        name, length = struct.unpack("<4sI", await reader.exactly(8))
        if name == b"QUIT":
            return
        if length > _LARGEST_PATH or name not in (b"STAT", b"STA2", b"LST2", b"LIST", b"LIS2", b"SEND", b"RECV"):
            return await _fail(stream, f"unknown sync request {name!r} of length {length}")
        path = (await reader.exactly(length)).decode(errors="surrogateescape")
        if name in (b"STAT", b"STA2", b"LST2"):
            await stream.write(_stat_answer(name, files.status(path)))
        elif name in (b"LIST", b"LIS2"):
            await stream.write(_listing(files, path, wide=name == b"LIS2"))
        elif name == b"RECV":
            await _receive(stream, files, path)
        else:
            await _send(stream, reader, files, path)


class _Reader:
    """A reader of exact byte counts from a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._buffer = stream, bytearray()

    async def exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._buffer += await self._stream.read()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data


def _wide(status: Status) -> bytes:
    error = 0 if status.mode else _NO_ENTRY
    times = (status.modified,) * 3
    return struct.pack("<IQQIIIIQqqq", error, 0, 0, status.mode, 1 if status.mode else 0, 0, 0, status.size, *times)


def _stat_answer(name: bytes, status: Status) -> bytes:
    if name == b"STAT":
        return b"STAT" + struct.pack("<III", status.mode, status.size, status.modified)
    return name + _wide(status)


def _listing(files: Files, path: str, *, wide: bool) -> bytes:
    """Return the entries of a directory, then DONE, which has the length of an entry without name."""
    try:
        names = files.names(path)
    except FileError:
        names = []  # adbd also sends an empty list for a missing directory
    entries = []
    for name in names:
        status = files.status(posixpath.join(path, name))
        encoded = name.encode(errors="surrogateescape")
        head = b"DNT2" + _wide(status) if wide else b"DENT" + struct.pack("<III", *_narrow(status))
        entries.append(head + struct.pack("<I", len(encoded)) + encoded)
    return b"".join(entries) + b"DONE" + bytes(72 if wide else 16)


def _narrow(status: Status) -> tuple[int, int, int]:
    return status.mode, status.size, status.modified


async def _receive(stream: Stream, files: Files, path: str) -> None:
    try:
        data = files.read(path)
    except FileError as error:
        return await _fail(stream, f"open failed: {error}")
    pieces = (data[start : start + _LARGEST_CHUNK] for start in range(0, len(data), _LARGEST_CHUNK))
    await stream.write(b"".join(b"DATA" + struct.pack("<I", len(p)) + p for p in pieces) + b"DONE" + bytes(4))


async def _send(stream: Stream, reader: _Reader, files: Files, target: str) -> None:
    """Receive a file to `target`, "path,mode". As in adbd, a failure is sent only after all data is read."""
    path, _, mode = target.rpartition(",")
    data = bytearray()
    while True:
        name, length = struct.unpack("<4sI", await reader.exactly(8))
        if name == b"DONE":
            modified = length
            break
        if name != b"DATA" or length > _LARGEST_CHUNK:
            await _fail(stream, f"unexpected {name!r} of length {length} in data")
            raise StreamClosed
        data += await reader.exactly(length)
    try:
        files.make_directories(posixpath.dirname(path))
        files.write(path, bytes(data), permissions=int(mode, 0), modified=modified)
    except (FileError, ValueError) as error:
        return await _fail(stream, f"couldn't create file: {error}")
    await stream.write(b"OKAY" + bytes(4))


async def _fail(stream: Stream, reason: str) -> None:
    text = reason.encode(errors="replace")
    await stream.write(b"FAIL" + struct.pack("<I", len(text)) + text)
