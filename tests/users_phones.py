"""Phones like those of a user: simulated phones in this process, connected to a separate adb server.

Every request to a phone is recorded, so that a test can check that none was a simulator-only command.
"""

import asyncio
import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mobile_r1_jax.phones.adb.server import AdbServer, adb_path
from mobile_r1_jax.phones.adb.stream import states
from mobile_r1_jax.phones.simulator.android.daemon import ListeningPhone, listen
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.phones.simulator.trouble import Event, Trouble

KEYBOARD = "com.android.inputmethod.latin/.LatinIME"
# front: an app whose name adb does not know is opened by its icon, which needs some time.
NO_WAITS = "{first_settle: 0, settle: 0, still: 0, longest_wait: 0, front: 2, typed: 0, keyboard_settle: 0, retake: 0}"


class UsersPhones:
    """Some phones of one kind and their adb server, at `address`. requests: to each phone, oldest first."""

    def __init__(self, count: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = AdbServer()
        self.address = self._server.address
        self.phones = [self._listen() for _ in range(count)]
        self.requests: list[list[str]] = [[] for _ in self.phones]
        for number, phone in enumerate(self.phones):
            self._record(number, phone)
            self.adb("connect", self.serial(number))
        self.wait_for_state("device", *range(count))

    @property
    def flags(self) -> list[str]:
        """The flags of a command that uses these phones at once, without waits."""
        return ["--phones.source=[devices]", f"--phones.devices.server={self.address}", f"--phones.timings={NO_WAITS}"]

    def serial(self, number: int) -> str:
        return f"127.0.0.1:{self.phones[number].port}"

    def adb(self, *words: str) -> str:
        """Run the real adb on this server and return its output."""
        command = [adb_path(), "-L", f"tcp:localhost:{self.address.port}", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout

    def shell(self, number: int, line: str) -> str:
        return self.adb("-s", self.serial(number), "shell", line).strip()

    def wait_for_state(self, state: str, *numbers: int) -> None:
        deadline = time.monotonic() + 30
        while any(states(self.address, 5).get(self.serial(number)) != state for number in numbers):
            assert time.monotonic() < deadline, states(self.address, 5)
            time.sleep(0.02)

    def trouble(self, number: int, *events: Event) -> None:
        """Cause these kinds of trouble from now on."""
        self.call(self.phones[number].android.trouble.choose, Trouble(script=events))

    def begin(self, number: int, kind: str, seconds: float) -> None:
        """Cause a trouble now."""
        android = self.phones[number].android
        self.call(android.trouble._begin, android, Event(kind, of="commands", duration=seconds))

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in the thread of the phones."""

        async def run() -> None:
            function(*arguments)

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    @property
    def simulator_only(self) -> list[str]:
        """Return the requests that no real phone would understand."""
        return [request for requests in self.requests for request in requests if "cmd simulator" in request]

    def close(self) -> None:
        self._server.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _listen(self) -> ListeningPhone:
        listening = listen(Device(size=(112, 224), seed=0))
        return asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)

    def _record(self, number: int, phone: ListeningPhone) -> None:
        trouble = phone.android.trouble
        count_request = trouble.count_request

        def record(android: object, service: str) -> None:
            self.requests[number].append(service)
            count_request(android, service)

        trouble.count_request = record


@contextlib.contextmanager
def users_phones(count: int) -> Iterator[UsersPhones]:
    with contextlib.closing(UsersPhones(count)) as phones:
        yield phones


def environment(cache: Path, state: Path) -> dict[str, str]:
    """Return the environment of a command: tests share compiled programs but not the saved settings of phones."""
    apart = {"JAX_COMPILATION_CACHE_DIR": str(cache), "XDG_STATE_HOME": str(state)}
    return os.environ | apart | {"JAX_PLATFORMS": "cpu", "COLUMNS": "140", "PYTHONUNBUFFERED": "1"}
