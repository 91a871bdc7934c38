"""An adb server of our own: a child process on a free port, invisible to the machine's other adb users."""

from __future__ import annotations

import importlib.resources
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adbutils import AdbError

from mobile_r1_jax.phones.adb_stream import ServerAddress, ask_server

_READY_SECONDS = 10.0
_ATTEMPTS = 3  # somebody else may take the free port before adb does

# adb does not notice when whoever started it dies. This shell does, since its standard input ends then, and kills it.
_GUARD = '"$@" </dev/null & adb=$!; trap "kill $adb; exit" TERM; cat >/dev/null; kill $adb; wait $adb'


class ServerError(Exception):
    """No adb server could be started; says why in one line."""


def adb_path() -> str:
    """The adb binary that the adbutils wheel carries or, on machines whose wheel has none, the one on PATH."""
    bundled = Path(str(importlib.resources.files("adbutils.binaries") / "adb"))
    if os.access(bundled, os.X_OK):
        return str(bundled)
    found = shutil.which("adb")
    if found is None:
        raise ServerError("no adb: adbutils' wheel for x86-64 Linux carries one, elsewhere install platform-tools")
    return found


@contextmanager
def adb_server() -> Iterator[ServerAddress]:
    """Starts a server, yields its address once it answers, and kills it at the end.

    It knows of no USB devices, no network discovery and no emulators by itself, keeps its keys in a temporary directory
    and dies with this process, even if this process crashes. Raises ServerError.
    """
    with tempfile.TemporaryDirectory(prefix="adb-server-") as home:
        process, address = _start(Path(home))
        try:
            yield address
        finally:
            _stop(process)


def _start(home: Path) -> tuple[subprocess.Popen[bytes], ServerAddress]:
    for _ in range(_ATTEMPTS):
        address = ServerAddress("127.0.0.1", _free_port())
        process = _spawn(home, address)
        if _answers(address):
            return process, address
        _stop(process)
    words = (home / "log").read_text(errors="replace").strip().splitlines()
    raise ServerError(
        f"adb server does not answer within {_READY_SECONDS} s: {words[-1] if words else 'it said nothing'}"
    )


def _spawn(home: Path, address: ServerAddress) -> subprocess.Popen[bytes]:
    environment = {"PATH": os.defpath, "HOME": str(home), "ADB_USB": "0", "ADB_MDNS": "0", "ADB_EMU": "0"}
    command = [adb_path(), "-L", f"tcp:localhost:{address.port}", "nodaemon", "server"]
    with (home / "log").open("ab") as log:
        return subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "adb-server", *command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # Ctrl-C is for us, who then stop it in order
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=2)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(address: ServerAddress) -> bool:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            return bool(ask_server(address, "host:version", seconds=1.0))
        except (AdbError, OSError):
            time.sleep(0.02)
    return False
