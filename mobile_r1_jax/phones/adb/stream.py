"""One request to an adb server: adbutils' connection with one deadline for the whole exchange."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from adbutils import AdbConnection, AdbError

from mobile_r1_jax.phones.phone import PhonesUnavailable

LONGEST_REQUEST = 0xFFFF  # bytes; the length is sent as four hexadecimal digits


@dataclass(frozen=True)
class ServerAddress:
    """The address of an adb server."""

    host: str = "127.0.0.1"
    port: int = 5037

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ServerAddress:
        """Return the address that the environment variables of adb name, with the priorities of adb.

        ADB_SERVER_SOCKET is "tcp:PORT" or "tcp:HOST:PORT". Without it ANDROID_ADB_SERVER_ADDRESS and
        ANDROID_ADB_SERVER_PORT count. Raises PhonesUnavailable for a value that is not an address.
        """
        if socket_name := environment.get("ADB_SERVER_SOCKET"):
            match = re.fullmatch(r"tcp:(?:(?P<host>\[[^\]]+\]|[^:\[\]]+):)?(?P<port>\d+)", socket_name, re.ASCII)
            if match is None:
                raise PhonesUnavailable(f"ADB_SERVER_SOCKET is {socket_name!r}; use tcp:PORT or tcp:HOST:PORT")
            name, host, port = "ADB_SERVER_SOCKET", match["host"], match["port"]
        else:
            name = "ANDROID_ADB_SERVER_PORT"
            host, port = environment.get("ANDROID_ADB_SERVER_ADDRESS"), environment.get(name) or str(cls.port)
        if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or not 0 < int(port) < 1 << 16:
            raise PhonesUnavailable(f"{name}: {port!r} is not a port; use a number from 1 to 65535")
        return cls((host or cls.host).strip("[]"), int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class AdbStream(AdbConnection):
    """A connection to the server, for use in a `with`. Raises TimeoutError if the exchange takes more than `seconds`.

    It differs from adbutils' connection in three ways. It never starts a server when none answers. The limit holds for
    the whole exchange, not for each part. Closing does not sleep.
    """

    def __init__(self, address: ServerAddress, seconds: float) -> None:
        self._address, self._deadline = address, time.monotonic() + seconds
        super().__init__(address.host, address.port)

    def _safe_connect(self) -> socket.socket:
        left = max(self._deadline - time.monotonic(), 0.001)
        try:
            return socket.create_connection((self._address.host, self._address.port), timeout=left)
        except TimeoutError:
            raise
        except OSError as error:
            host, port = self._address.host, self._address.port
            is_local = host in ("localhost", "::1") or host.startswith("127.")
            start = f"adb -P {port} start-server" if is_local else f"adb -a -P {port} nodaemon server"
            raise AdbError(
                f"no adb server answers at {self._address} ({error.strerror or error}); start one on that machine with"
                f" `{start}`, or name another one in ADB_SERVER_SOCKET, as tcp:HOST:PORT"
            ) from error

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
