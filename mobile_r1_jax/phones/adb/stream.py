"""One request to an adb server: adbutils' connection with a deadline over everything that happens on it."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass

from adbutils import AdbConnection, AdbError

LONGEST_REQUEST = 0xFFFF  # bytes; the length travels as four hexadecimal digits


@dataclass(frozen=True)
class ServerAddress:
    """Where an adb server listens."""

    host: str = "127.0.0.1"
    port: int = 5037


class AdbStream(AdbConnection):
    """A connection to the server, to be used in a `with`. What takes longer than `seconds` in all raises TimeoutError.

    Differs from adbutils' own in three ways: a server that does not answer is an error, never a reason to start one on
    the default port; the limit holds for the whole exchange and not for each piece of it; closing does not sleep.
    """

    def __init__(self, address: ServerAddress, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        super().__init__(address.host, address.port)

    def _safe_connect(self) -> socket.socket:
        return self._create_socket()

    def close(self) -> None:
        self.conn.close()

    def recv(self, n: int) -> bytes:
        """At most `n` bytes, none at the end."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.conn.settimeout(left)
        return self.conn.recv(n)

    def request(self, service: str) -> None:
        """Asks the server for `service`. Raises AdbError with the server's reason when it refuses."""
        encoded = service.encode()
        if len(encoded) > LONGEST_REQUEST:
            raise AdbError(f"the command has {len(encoded)} bytes; adb takes {LONGEST_REQUEST} at most")
        self.conn.settimeout(max(self._deadline - time.monotonic(), 0.001))
        self.conn.sendall(b"%04x" % len(encoded) + encoded)
        answer = self._exactly(4)
        if answer == b"FAIL":
            raise AdbError(self.block())
        if answer != b"OKAY":
            raise AdbError(f"the server hung up on {service[:40]!r}" if not answer else f"unknown answer {answer!r}")

    def block(self) -> str:
        """A text that the server sends with its length before it."""
        length = self._exactly(4)
        if not re.fullmatch(rb"[0-9a-fA-F]{4}|", length):
            raise AdbError(f"unknown answer {length!r}")
        return self._exactly(int(length or b"0", 16)).decode(errors="replace")

    def to_end(self) -> bytes:
        """Everything until the other side closes."""
        pieces = []
        while piece := self.recv(1 << 17):
            pieces.append(piece)
        return b"".join(pieces)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count and (piece := self.recv(count - len(data))):
            data += piece
        return data


def ask_server(address: ServerAddress, service: str, seconds: float) -> str:
    """The server's text for a request that it answers itself, such as "host:version". Raises AdbError or OSError."""
    with AdbStream(address, seconds) as stream:
        stream.request(service)
        return stream.block()


def announce(address: ServerAddress, port: int, seconds: float) -> None:
    """Tells the server of a phone that listens on its localhost `port`; it becomes `emulator-(port - 1)`."""
    with AdbStream(address, seconds) as stream:
        encoded = f"host:emulator:{port}".encode()
        stream.conn.sendall(b"%04x" % len(encoded) + encoded)
        stream.to_end()  # the server says nothing to this request and closes once it has tried


def states(address: ServerAddress, seconds: float) -> dict[str, str]:
    """Serial to state ("device", "offline", "unauthorized", …) of all that the server knows."""
    lines = ask_server(address, "host:devices", seconds).splitlines()
    return {serial: state for serial, state in (line.split("\t") for line in lines)}
