"""A private adb server: a child process on a free port, which other adb users of the machine do not see."""

from __future__ import annotations

import importlib.resources
import os
import shutil
import socket
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from adbutils import AdbError

from mobile_r1_jax.phones.adb.stream import ServerAddress, ask_server
from mobile_r1_jax.phones.child import Child
from mobile_r1_jax.phones.phone import PhonesUnavailable

_ENVIRONMENT = {"PATH": os.defpath, "ADB_USB": "0", "ADB_MDNS": "0", "ADB_EMU": "0"}
_READY_SECONDS = 10.0
_ATTEMPTS = 3  # another process may take the free port before adb does


def adb_path() -> str:
    """Return the adb binary of the adbutils wheel, or the one on PATH if the wheel has none.

    Raises PhonesUnavailable if neither can be executed.
    """
    bundled = Path(str(importlib.resources.files("adbutils.binaries") / "adb"))
    found = str(bundled) if os.access(bundled, os.X_OK) else shutil.which("adb")
    if found is None:
        fault = f"{bundled} is not executable" if bundled.exists() else f"there is no {bundled}"
        raise PhonesUnavailable(f"adb: {fault} and PATH has no adb; install Android's platform-tools")
    return found


class AdbServer:
    """An adb server at `address`. The constructor starts it and returns when it answers.

    It does not look for USB devices, network devices or emulators. It keeps its keys in a temporary directory. It ends
    with this process, even if this process crashes. Raises PhonesUnavailable if the server does not start, OSError if
    no process or temporary directory can be created.
    """

    def __init__(self) -> None:
        path = adb_path()
        with ExitStack() as undo:
            home = tempfile.TemporaryDirectory(prefix="adb-server-", ignore_cleanup_errors=True)
            undo.callback(home.cleanup)
            for attempt in range(_ATTEMPTS):
                self.address = ServerAddress("127.0.0.1", _free_port())
                command = [path, "-L", f"tcp:localhost:{self.address.port}", "nodaemon", "server"]
                self.child = Child(command, _ENVIRONMENT | {"HOME": home.name})
                undo.callback(self.child.close)
                if self._comes_up():
                    break
                if self.child.running or attempt == _ATTEMPTS - 1:
                    raise PhonesUnavailable(f"adb server: {path} does not start: {self.child.last_words()}")
            undo.pop_all()
            self._home = home

    def answers(self, seconds: float) -> bool:
        """Return whether the server runs and answers within `seconds`."""
        try:
            return self.child.running and bool(ask_server(self.address, "host:version", seconds))
        except (AdbError, OSError):
            return False

    def close(self) -> None:
        """End the server; a second call does nothing."""
        self.child.close()
        self._home.cleanup()

    def _comes_up(self) -> bool:
        deadline = time.monotonic() + _READY_SECONDS
        while self.child.running and time.monotonic() < deadline:
            if self.answers(1.0):
                return True
            time.sleep(0.02)
        return False


def _free_port() -> int:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]
    except OSError as error:
        raise PhonesUnavailable(f"adb server: no free port on 127.0.0.1: {error.strerror}") from error
