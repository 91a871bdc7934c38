"""Simulated phones: an adb server and the simulator in child processes that are restarted when they fail."""

from __future__ import annotations

import json
import re
import shlex
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any, Literal

from adbutils import AdbError

from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.agent.progress import Progress
from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.adb.server import AdbServer
from mobile_r1_jax.phones.adb.stream import ServerAddress, announce, states
from mobile_r1_jax.phones.child import Child, SupervisedService
from mobile_r1_jax.phones.phone import PhoneError, PhonesUnavailable
from mobile_r1_jax.phones.settings import INSTANT, SimulatedSettings, Timings
from mobile_r1_jax.phones.simulator.android.wire import CNXN, MAX_PAYLOAD, VERSION, Message, encode
from mobile_r1_jax.phones.simulator.screen import check_size
from mobile_r1_jax.phones.simulator.suite import SimulatorTasks
from mobile_r1_jax.tasks.task import Task

_START_SECONDS, _CLOSE_SECONDS = 60.0, 5.0


class SimulatedPhone(AdbPhone):
    """A phone that accepts task setups and reports its state; otherwise used exactly as a real phone.

    `repair` is called before each reconnection. It may restart the processes behind the phone.
    """

    restores = False  # no person uses it

    def __init__(
        self,
        serial: str,
        server: ServerAddress,
        timings: Timings = INSTANT,
        repair: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(serial, server, timings)
        self._repair = repair
        self._knows_task = True

    def enter(self) -> None:
        """Do nothing: a simulated phone is ready."""

    def reset(self, task: Task) -> None:
        """Put the phone into the start state of the task. A task without a setup for the simulator is set up as
        on a real phone."""
        self._knows_task = bool(task.setup)
        if self._knows_task:
            self.simulator("reset", task.setup)
            self._first = True
        else:
            super().reset(task)

    def reconnect(self) -> None:
        """See AdbPhone. Raises PhonesUnavailable if the processes behind the phone end repeatedly."""
        self._repair()
        super().reconnect()

    def _announce(self) -> None:
        self._repair()
        super()._announce()

    def simulator(
        self, verb: Literal["reset", "state", "progress", "trouble"], payload: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Send a command to the simulator and return its answer. Raises PhoneError with the phone's reason.

        verb: `state` returns the state for success checks, `progress` the progress of the task. `reset` takes the setup
        of a task as `payload` and returns the progress.
        """
        words = ["cmd", "simulator", verb] + ([] if payload is None else [json.dumps(dict(payload))])
        return json.loads(self.checked(shlex.join(words)))

    def outcome(self, task: Task) -> Outcome:
        """See Phone. The state of a simulated phone decides about the simulator's own tasks."""
        if not self._knows_task:
            return super().outcome(task)
        return Outcome.DONE if self.simulator("progress")["done"] else Outcome.NOT_DONE

    def progress(self) -> Progress | None:
        """See Phone. A simulated phone knows the progress of the simulator's own tasks."""
        if not self._knows_task:
            return None
        answer = self.simulator("progress")
        return Progress(answer["done"], answer["remaining"], answer["shortest"], *answer["milestones"])

    def labels(self) -> dict[str, str]:
        """Return label -> package of all apps."""
        dump = self.checked("dumpsys package packages")
        return {
            label: package for package, label in re.findall(r"Package \[(\S+)\][\s\S]*?nonLocalizedLabel=(.*)", dump)
        }


class Simulator:
    """`count` simulated phones in a child process that ends with this one; phone i is seeded by seed + i.

    They listen on `ports` of localhost when the constructor returns. They announce themselves to `server`, if there is
    one, and come back to it after a reboot, `adb reconnect` or `adb disconnect`. Raises PhonesUnavailable if the
    simulator does not start, OSError if no process can be created.
    """

    def __init__(self, count: int, size: tuple[int, int], seed: int, server: ServerAddress | None = None) -> None:
        command = [sys.executable, "-m", "mobile_r1_jax.phones.simulator", "--json", "--phones", str(count)]
        command += ["--size", f"{size[0]}x{size[1]}", "--seed", str(seed)]
        command += [] if server is None else ["--adb-server", f"{server.host}:{server.port}"]
        self.child = Child(command)
        with ExitStack() as undo:
            undo.callback(self.child.close)
            line = self.child.first_line(_START_SECONDS)
            if not line:
                raise PhonesUnavailable(f"simulator: does not start: {self.child.last_words()}")
            self.ports = tuple(json.loads(line)["ports"])
            undo.pop_all()

    def answers(self, seconds: float) -> bool:
        """Return whether the process runs and its first phone answers a connection within `seconds`."""
        if not self.child.running:
            return False
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.ports[0]), seconds) as connection:
            connection.sendall(encode(Message(CNXN, VERSION, MAX_PAYLOAD)))
            return bool(connection.recv(1))
        return False

    def close(self) -> None:
        """End the process; a second call does nothing."""
        self.child.close()


class SimulatedPhones:
    """`count` simulated phones in `phones`, with a private adb server; both processes are restarted when they fail.

    Raises PhonesUnavailable if the processes do not start.
    """

    def __init__(self, count: int, size: tuple[int, int], seed: int, timings: Timings) -> None:
        self._count, self._size, self._seed, self._seconds = count, size, seed, timings.limit
        self._repairing = threading.Lock()
        self.phones: tuple[SimulatedPhone, ...] = ()
        with ExitStack() as undo:
            self.adb = SupervisedService("adb server", AdbServer)
            undo.callback(self.adb.close)
            self.simulator = SupervisedService("simulator", self._start_simulator)
            undo.callback(self.simulator.close)
            server = self.adb.service.address
            try:
                serials = connect(server, self.simulator.service.ports)
            except PhoneError as error:
                raise PhonesUnavailable(f"simulated phones: adb cannot reach them: {error}") from error
            self.phones = tuple(SimulatedPhone(serial, server, timings, self.repair) for serial in serials)
            undo.pop_all()

    def repair(self) -> None:
        """Restart the adb server and the simulator if they have ended or do not answer, and reconnect all phones.

        Raises PhoneError if a phone cannot be reached yet, PhonesUnavailable if a process ends repeatedly.
        """
        with self._repairing:
            adb, simulator = self.adb.repair(self._seconds), self.simulator.repair(self._seconds)
            if not adb and not simulator:
                return
            server, ports = self.adb.service.address, self.simulator.service.ports
            for phone, port in zip(self.phones, ports, strict=True):
                phone.server, phone.serial = server, serial_of(port)
            connect(server, ports, self._seconds)

    def close(self) -> None:
        """End both processes. Running calls on the phones then fail soon."""
        self.simulator.close()
        self.adb.close()
        if self._repairing.acquire(timeout=_CLOSE_SECONDS):  # a running `repair` ends the process that it starts
            self._repairing.release()

    def _start_simulator(self) -> Simulator:
        for phone in self.phones:  # before any call can reach the new simulator
            phone.generation += 1
        return Simulator(self._count, self._size, self._seed, self.adb.service.address)


@contextmanager
def simulated_fleet(
    count: int, size: tuple[int, int] = (112, 224), seed: int = 0, timings: Timings = INSTANT
) -> Iterator[tuple[SimulatedPhone, ...]]:
    """Yield `count` simulated phones behind a private adb server, ready to use; phone i is seeded by seed + i.

    Their processes are restarted when they fail; see SimulatedPhones. Raises PhonesUnavailable.
    """
    with closing(SimulatedPhones(count, size, seed, timings)) as source:
        yield source.phones


def simulator_tasks(settings: SimulatedSettings) -> SimulatorTasks:
    """Return the task suite of simulated phones. Raises ValueError in one line, with the setting that is wrong."""
    try:
        check_size(settings.size)
    except ValueError as error:
        raise ValueError(f"size: {error}") from error
    return SimulatorTasks(settings.apps, settings.unseen_apps, settings.popups, settings.size)


def serial_of(port: int) -> str:
    """Return the serial that adb gives to an emulator on `port`."""
    return f"emulator-{port - 1}"


def connect(server: ServerAddress, ports: tuple[int, ...], seconds: float = 20.0) -> tuple[str, ...]:
    """Announce phones that listen on localhost and wait until all are usable. Return their serials, in order.

    Raises PhoneError for the first phone that is not usable after `seconds`.
    """
    serials = tuple(map(serial_of, ports))
    missing, reason = serials[0], f"not usable after {seconds} s"
    deadline = time.monotonic() + seconds
    try:
        for port in ports:
            announce(server, port, seconds)
        while time.monotonic() < deadline:
            known = states(server, seconds)
            missing = next((serial for serial in serials if known.get(serial) != "device"), None)
            if missing is None:
                return serials
            time.sleep(0.01)
    except (AdbError, OSError) as error:
        reason = str(error)
    raise PhoneError(missing, "announce", reason, delivered=False)
