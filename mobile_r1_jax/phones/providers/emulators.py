"""Headless emulators of one AVD, each restored to a snapshot before every task, behind a private adb server."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

from rich.console import Console
from rich.progress import track

from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.adb.server import AdbServer
from mobile_r1_jax.phones.child import SupervisedService
from mobile_r1_jax.phones.emulator.avd import Sdk, copy_avd, kill_orphans, remove_locks
from mobile_r1_jax.phones.emulator.instance import MARK, Emulator, Launch
from mobile_r1_jax.phones.phone import PhoneError, PhonesUnavailable
from mobile_r1_jax.phones.settings import EmulatorSettings, Timings
from mobile_r1_jax.tasks.task import Task

_BOOT_SECONDS = 600.0  # as long as others wait for a cold boot on slow hardware
_REPAIR_SECONDS = 10.0


class EmulatedPhone(AdbPhone):
    """A phone in an emulator that this process owns.

    Before each task the emulator is restored to the snapshot: an instance with its own AVD loads it in place, an
    instance that shares its AVD starts again from it. After `loads` tasks the emulator is started again in any case,
    since emulators crash after many loads.

    repair_server: restarts the adb server if it has ended. It is called before each reconnection.
    """

    def __init__(
        self, launch: Launch, settings: EmulatorSettings, timings: Timings, repair_server: Callable[[], None]
    ) -> None:
        super().__init__(f"emulator-{launch.port}", launch.server, timings)
        self._launch, self._settings, self._repair_server, self._tasks = launch, settings, repair_server, 0
        self._emulator = SupervisedService(f"emulator {launch.port}", lambda: Emulator(launch))

    def boot(self) -> None:
        """Wait until Android has booted. Raises PhonesUnavailable in one line."""
        deadline = time.monotonic() + _BOOT_SECONDS
        self._emulator.service.await_console(deadline)
        while True:
            try:
                super().reconnect()
                return
            except PhoneError as error:
                if time.monotonic() > deadline or not self._emulator.service.child.running:
                    words = self._emulator.service.child.last_words()
                    raise PhonesUnavailable(f"{self.serial} has not booted: {error.reason}; {words}") from error

    def reset(self, task: Task) -> None:
        """Restore the snapshot, then put the phone into the start state of the task."""
        self._tasks += 1
        if self._tasks % self._settings.loads == 0:
            self._start_again()
        elif self._settings.snapshot and self._tasks > 1:
            if self._launch.read_only:
                self._start_again()
            else:
                self._emulator.service.load_snapshot(self._settings.snapshot)
                super().reconnect()
        super().reset(task)

    def reconnect(self) -> None:
        """See Phone. An emulator that has ended or does not answer is started again."""
        self._repair_server()
        if self._emulator.repair(_REPAIR_SECONDS):
            self.generation += 1
            self.boot()
        else:
            super().reconnect()

    def close(self) -> None:
        """Stop the emulator."""
        self._emulator.close()

    def _start_again(self) -> None:
        self._emulator.service.close()
        self._emulator.service = Emulator(self._launch)
        self.boot()


class EmulatorFarm:
    """Running emulators in `phones`, with a private adb server. Raises PhonesUnavailable in one line."""

    def __init__(self, settings: EmulatorSettings, timings: Timings) -> None:
        sdk = Sdk(os.environ)
        program = sdk.emulator()
        names = prepare_avds(sdk, settings)
        self._repairing, self.phones = threading.Lock(), []
        self._adb = SupervisedService("adb server", AdbServer)
        try:
            for number, name in enumerate(names):
                port, address = settings.first_port + 2 * number, self._adb.service.address
                launch = Launch(sdk, program, name, port, address, settings.snapshot, read_only=not settings.copies)
                self.phones.append(EmulatedPhone(launch, settings, timings, self.repair_server))
            for phone in track(self.phones, "boot the emulators", console=Console(stderr=True), transient=True):
                phone.boot()
        except BaseException:
            self.close()
            raise

    def repair_server(self) -> None:
        """Restart the adb server if it has ended, and tell the phones its new address."""
        with self._repairing:
            if self._adb.repair(_REPAIR_SECONDS):
                for phone in self.phones:
                    phone.server = self._adb.service.address

    def close(self) -> None:
        """Stop all emulators at once, and the adb server."""
        with ThreadPoolExecutor(max(1, len(self.phones))) as threads:
            list(threads.map(EmulatedPhone.close, self.phones))
        self._adb.close()


def prepare_avds(sdk: Sdk, settings: EmulatorSettings) -> Sequence[str]:
    """Return the name of each instance's AVD, and make the copies. Emulators of a killed run are killed first."""
    if settings.avd is None:
        raise PhonesUnavailable("phones.emulators.avd is null; `emulator -list-avds` prints the names of your AVDs")
    folder = sdk.avd(settings.avd)
    if settings.snapshot and not (folder / "snapshots" / settings.snapshot).is_dir():
        found = ", ".join(sorted(part.name for part in folder.glob("snapshots/*/"))) or "none"
        raise PhonesUnavailable(
            f"phones.emulators.snapshot: {settings.avd} has no snapshot {settings.snapshot!r}; it has: {found}"
        )
    kill_orphans(sdk, MARK)
    if not settings.copies:
        remove_locks(sdk, settings.avd)
        return [settings.avd] * settings.count
    names = [f"{settings.avd}-{MARK}-{number}" for number in range(settings.count)]
    for name in track(names, "copy the AVD", console=Console(stderr=True), transient=True):
        copy_avd(sdk, settings.avd, name)
    return names


@contextmanager
def emulators(settings: EmulatorSettings, timings: Timings) -> Iterator[Sequence[EmulatedPhone]]:
    """Yield running emulators, ready to use, and stop them at the end. Raises PhonesUnavailable in one line."""
    with closing(EmulatorFarm(settings, timings)) as farm:
        yield farm.phones
