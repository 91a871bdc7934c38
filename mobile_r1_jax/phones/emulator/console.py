"""The console of an emulator: one command per connection, as `adb emu` does, but with errors."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

TOKEN_FILE = ".emulator_console_auth_token"  # in the home directory of the emulator's process
_NEEDS_TOKEN = "Authentication required"


class ConsoleError(Exception):
    """A console that does not answer, or an answer KO, in one line."""


def ask_console(port: int, command: str, *, home: Path, seconds: float) -> list[str]:
    """Run a command on the console at `port` of localhost. Return the lines before OK.

    Args:
      home: home directory of the emulator's process, which holds the token for the console.
      seconds: limit for the connection and all answers.

    Raises:
      ConsoleError: no console, a wrong token, an answer KO, or no answer in time.
    """
    deadline = time.monotonic() + seconds
    name = f"console {port}: {command}"
    try:
        with socket.create_connection(("127.0.0.1", port), seconds) as connection:
            lines = _lines(connection, deadline)
            if any(_NEEDS_TOKEN in line for line in _answer(lines, name)):
                connection.sendall(f"auth {_token(home, name)}\n".encode())
                _answer(lines, name)
            connection.sendall(f"{command}\n".encode())
            return _answer(lines, name)
    except OSError as error:
        raise ConsoleError(f"{name}: {error.strerror or error or 'no answer in time'}") from error


def _token(home: Path, name: str) -> str:
    try:
        return (home / TOKEN_FILE).read_text().strip()
    except OSError as error:
        raise ConsoleError(f"{name}: it asks for the token in {home / TOKEN_FILE}: {error.strerror}") from error


def _answer(lines: Iterator[str], name: str) -> list[str]:
    """Return the lines up to OK. Raise ConsoleError for KO and for a connection that ends before."""
    found = []
    for line in lines:
        if line == "OK" or line.startswith("OK:"):  # `kill` answers "OK: killing emulator, bye bye"
            return found
        if line.startswith("KO"):
            raise ConsoleError(f"{name}: {line}")
        found.append(line)
    raise ConsoleError(f"{name}: the console hung up")


def _lines(connection: socket.socket, deadline: float) -> Iterator[str]:
    data = b""
    while True:
        while b"\n" in data:
            line, _, data = data.partition(b"\n")
            yield line.decode(errors="replace").strip("\r")
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        received = connection.recv(4096)
        if not received:
            return
        data += received
