"""One request to an adb server: adbutils' connection with one deadline for the whole exchange."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass

from adbutils import AdbConnection, AdbError

LONGEST_REQUEST = 0xFFFF  # bytes; the length is sent as four hexadecimal digits


@dataclass(frozen=True)
class ServerAddress:
    """The address of an adb server."""

    host: str = "127.0.0.1"
    port: int = 5037


class AdbStream(AdbConnection):
    """A connection to the server, for use in a `with`. Raises TimeoutError if the exchange takes more than `seconds`.

    It differs from adbutils' connection in three ways. It never starts a server when none answers. The limit holds for
    the whole exchange, not for each part. Closing does not sleep.
    """

    def __init__(self, address: ServerAddress, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        super().__init__(address.host, address.port)

    def _safe_connect(self) -> socket.socket:
        return self._create_socket()

    def close(self) -> None:
        self.conn.close()

    def recv(self, n: int) -> bytes:
        """Return at most `n` bytes; b"" at the end."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.conn.settimeout(left)
        return self.conn.recv(n)

    def request(self, service: str) -> None:
        """Request `service` from the server. Raises AdbError with the server's reason if it refuses."""
        encoded = service.encode()
        if len(encoded) > LONGEST_REQUEST:
            raise AdbError(f"the command has {len(encoded)} bytes; adb accepts {LONGEST_REQUEST} at most")
        self.conn.settimeout(max(self._deadline - time.monotonic(), 0.001))
        self.conn.sendall(b"%04x" % len(encoded) + encoded)
        answer = self._exactly(4)
        if answer == b"FAIL":
            raise AdbError(self.block())
        if answer != b"OKAY":
            raise AdbError(f"the server hung up on {service[:40]!r}" if not answer else f"unknown answer {answer!r}")

    def block(self) -> str:
        """Return a text that the server sends after its length."""
        length = self._exactly(4)
        if not re.fullmatch(rb"[0-9a-fA-F]{4}|", length):
            raise AdbError(f"unknown answer {length!r}")
        return self._exactly(int(length or b"0", 16)).decode(errors="replace")

    def to_end(self) -> bytes:
        """Return all bytes until the server closes the connection."""
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
    """Return the answer to a request to the server itself, such as "host:version". Raises AdbError or OSError."""
    with AdbStream(address, seconds) as stream:
        stream.request(service)
        return stream.block()


def announce(address: ServerAddress, port: int, seconds: float) -> None:
    """Announce a phone that listens on localhost `port` to the server. Its serial becomes `emulator-(port - 1)`."""
    with AdbStream(address, seconds) as stream:
        encoded = f"host:emulator:{port}".encode()
        stream.conn.sendall(b"%04x" % len(encoded) + encoded)
        stream.to_end()  # the server sends no answer and closes after its attempt


def states(address: ServerAddress, seconds: float) -> dict[str, str]:
    """Return serial -> state ("device", "offline", "unauthorized", …) of all phones of the server."""
    lines = ask_server(address, "host:devices", seconds).splitlines()
    return {serial: state for serial, state in (line.split("\t") for line in lines)}
