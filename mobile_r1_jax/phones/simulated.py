"""Simulated phones ready to use: our adb server, the phones in a child process, one `SimulatedPhone` for each."""

from __future__ import annotations

import json
import re
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from mobile_r1_jax.phones.adb_phone import AdbPhone, Timings
from mobile_r1_jax.phones.adb_server import adb_server
from mobile_r1_jax.phones.adb_stream import ServerAddress, announce, states
from mobile_r1_jax.phones.phone import PhoneError, Task

INSTANT = Timings(first_settle=0, settle=0, longest_wait=0, keyboard_settle=0)
_START_SECONDS = 60.0


class SimulatedPhone(AdbPhone):
    """A phone that can be put anywhere and asked anything; otherwise used exactly as a real one."""

    def __init__(self, serial: str, server: ServerAddress, timings: Timings = INSTANT) -> None:
        super().__init__(serial, server, timings)

    def reset(self, task: Task) -> None:
        """Puts the task on the phone."""
        self.simulator("reset", task.setup)
        self._first = True

    def simulator(
        self, verb: Literal["reset", "state", "progress"], payload: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """`state`: what success checks look at. `progress`: how far the task is. `reset`: takes a task's setup, answers
        with the progress. Raises PhoneError with the phone's reason."""
        words = ["cmd", "simulator", verb] + ([] if payload is None else [json.dumps(dict(payload))])
        return json.loads(self._checked(shlex.join(words)))

    def installed_apps(self) -> dict[str, str]:
        """App name to package, of all apps."""
        dump = self._checked("dumpsys package packages")
        return {
            label: package for package, label in re.findall(r"Package \[(\S+)\][\s\S]*?nonLocalizedLabel=(.*)", dump)
        }


@dataclass(frozen=True)
class SimulatorProcess:
    """A child process with its phones' ports."""

    process: subprocess.Popen[bytes]
    ports: tuple[int, ...]


@contextmanager
def simulator_process(count: int, size: tuple[int, int], seed: int) -> Iterator[SimulatorProcess]:
    """`count` simulated phones in a child process that ends with this one. Raises RuntimeError if it does not start."""
    command = [sys.executable, "-m", "mobile_r1_jax.phones.simulator", "--phones", str(count)]
    command += ["--size", f"{size[0]}x{size[1]}", "--seed", str(seed)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        readable, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
        line = process.stdout.readline() if readable else b""
        if not line:
            raise RuntimeError(f"the simulated phones did not start ({shlex.join(command)}): see what it printed above")
        yield SimulatorProcess(process, tuple(json.loads(line)["ports"]))
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextmanager
def simulated_fleet(
    count: int, size: tuple[int, int] = (112, 224), seed: int = 0, timings: Timings = INSTANT
) -> Iterator[tuple[SimulatedPhone, ...]]:
    """`count` simulated phones behind an adb server of their own, ready to use; phone i is seeded by seed + i."""
    with adb_server() as server, simulator_process(count, size, seed) as simulator:
        yield tuple(SimulatedPhone(serial, server, timings) for serial in connect(server, simulator.ports))


def connect(server: ServerAddress, ports: tuple[int, ...], seconds: float = 20.0) -> tuple[str, ...]:
    """Announces phones that listen on localhost and waits until all are usable. Returns their serials, in order."""
    for port in ports:
        announce(server, port, seconds)
    serials = tuple(f"emulator-{port - 1}" for port in ports)
    deadline = time.monotonic() + seconds
    while missing := [serial for serial in serials if states(server, seconds).get(serial) != "device"]:
        if time.monotonic() > deadline:
            raise PhoneError(missing[0], "announce", f"not usable after {seconds} s", delivered=False)
        time.sleep(0.01)
    return serials
