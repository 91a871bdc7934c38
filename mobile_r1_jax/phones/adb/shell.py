"""The shell of one phone behind an adb server: commands with a limit, and a record of the last exchanges."""

from __future__ import annotations

import re
import struct
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from adbutils import AdbError

from mobile_r1_jax.phones.adb.stream import AdbStream, ServerAddress, announce, ask_server
from mobile_r1_jax.phones.phone import PhoneError

_KEPT = 30  # exchanges
_SHORT = 200  # characters of a command and of its answer that the record keeps
_EXCEPTION = re.compile(r"Exception occurred while executing|java\.lang\.SecurityException|INJECT_EVENTS")


@dataclass(frozen=True)
class Answer:
    """The output and exit status of a shell command."""

    stdout: str
    stderr: str
    status: int

    @property
    def words(self) -> str:
        """Return what went wrong, in one line: the exception if there is one, else the first output."""
        lines = [line.strip() for line in f"{self.stderr}\n{self.stdout}".splitlines() if line.strip()]
        named = [line for line in lines if re.match(r"(Error: )?java\.", line)]
        return (named or lines or ["no output"])[0][:_SHORT]

    @property
    def failed(self) -> bool:
        """Return whether the command failed. Some phones report an exception with exit status 0."""
        return self.status != 0 or bool(_EXCEPTION.search(self.stderr) or _EXCEPTION.search(self.stdout))


class AdbShell:
    """The shell of the phone `serial` at an adb server. Every command ends within `limit` seconds.

    No call starts, stops or restarts a server.
    """

    def __init__(self, serial: str, server: ServerAddress, limit: float) -> None:
        self.serial, self.server, self.limit = serial, server, limit
        self._exchanges: deque[tuple[str, int]] = deque(maxlen=_KEPT)  # (command and answer, how often in a row)

    def transcript(self) -> tuple[str, ...]:
        """Return the last exchanges, oldest first: the command and the answer. Equal ones in a row are one entry."""
        return tuple(text if times == 1 else f"{text} ({times} times)" for text, times in self._exchanges)

    def shell(self, line: str, extra: float = 0.0) -> Answer:
        """Run a command line in the phone's shell. The caller quotes the arguments.

        extra: seconds added to the limit, for commands that take long. Raises PhoneError.
        """
        data = self.service(f"shell,v2,raw:{line}", extra)
        outputs = {1: b"", 2: b""}
        at = 0
        while at + 5 <= len(data):
            kind, length = struct.unpack_from("<BI", data, at)
            body = data[at + 5 : at + 5 + length]
            at += 5 + length
            if kind == 3 and body:
                answer = Answer(outputs[1].decode(errors="replace"), outputs[2].decode(errors="replace"), body[0])
                self._record(line, f"status {answer.status}: {answer.stdout}{answer.stderr}")
                return answer
            if kind in outputs:
                outputs[kind] += body
        reason = "the phone hung up before the command's exit status"
        self._record(line, reason)
        raise PhoneError(self.serial, line, reason)

    def checked(self, line: str, extra: float = 0.0) -> str:
        """Run a command line and return its standard output. Raises PhoneError if the command fails."""
        answer = self.shell(line, extra)
        if answer.failed:
            raise PhoneError(self.serial, line, f"exit status {answer.status}: {answer.words}")
        return answer.stdout

    def service(self, service: str, extra: float = 0.0) -> bytes:
        """Open a service on the phone and return all its output. Raises PhoneError on any failure."""
        limit, delivered = self.limit + extra, False
        try:
            with AdbStream(self.server, limit) as stream:
                stream.request(f"host:transport:{self.serial}")
                delivered = True
                stream.request(service)
                data = stream.to_end()
                if not service.startswith("shell,v2"):
                    self._record(service, f"{len(data)} bytes")
                return data
        except TimeoutError:
            reason = f"no answer within {limit:g} s"
        except (AdbError, OSError, UnicodeError) as error:
            reason = str(error) or type(error).__name__
        self._record(service, reason)
        raise PhoneError(self.serial, service, reason, delivered=delivered)

    def reconnect(self) -> None:
        """Reconnect this phone and no other one, and wait until it has booted."""
        deadline = time.monotonic() + self.limit
        with suppress(AdbError, OSError):  # the server may not know the phone; the calls below decide
            ask_server(self.server, f"host-serial:{self.serial}:reconnect", self.limit)
        while True:
            with suppress(AdbError, OSError):  # in every loop: the server refuses while it holds the old connection
                self._announce()
            try:
                if self.shell("getprop sys.boot_completed").stdout.strip() == "1":
                    return
                reason = "it has not finished booting"
            except PhoneError as error:
                reason = error.reason
            if time.monotonic() > deadline:
                raise PhoneError(self.serial, "reconnect", reason, delivered=False)
            time.sleep(0.1)

    def _announce(self) -> None:
        """Announce the phone to the server if the serial contains its address. The server finds USB phones itself."""
        if match := re.fullmatch(r"emulator-(\d+)", self.serial):
            announce(self.server, int(match[1]) + 1, self.limit)
        elif ":" in self.serial:
            ask_server(self.server, f"host:connect:{self.serial}", self.limit)

    def _record(self, command: str, answer: str) -> None:
        text = f"{_shortened(command)} -> {_shortened(answer)}"
        times = 1
        if self._exchanges and self._exchanges[-1][0] == text:
            times += self._exchanges.pop()[1]
        self._exchanges.append((text, times))


def _shortened(text: str) -> str:
    line = " ".join(text[: 2 * _SHORT].split())
    return line if len(line) <= _SHORT else line[: _SHORT - 3] + "..."
