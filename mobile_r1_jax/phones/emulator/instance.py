"""One running emulator: started headless on its own ports, restored to a snapshot, and stopped."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mobile_r1_jax.phones.adb.stream import ServerAddress
from mobile_r1_jax.phones.child import Child
from mobile_r1_jax.phones.emulator.avd import Sdk, remove_locks
from mobile_r1_jax.phones.emulator.console import ConsoleError, ask_console
from mobile_r1_jax.phones.phone import PhoneError, PhonesUnavailable

MARK = "mobile-r1-jax"  # -id of every instance begins with it, so that left-over instances are found
_CONSOLE_SECONDS, _LOAD_SECONDS, _STOP_SECONDS = 10.0, 60.0, 30.0
_HEADLESS = ("-no-window", "-no-audio", "-no-boot-anim", "-no-sim", "-gpu", "swiftshader_indirect")
_LIGHT = ("-camera-back", "none", "-camera-front", "none", "-skip-adb-auth", "-no-snapshot-save", "-accel", "on")


@dataclass(frozen=True)
class Launch:
    """How one instance starts. port: of its console; its adb port is one higher. server: the adb server that it
    announces itself to. snapshot: the state it starts from; None boots it. read_only: it shares its AVD with others."""

    sdk: Sdk
    program: Path
    avd: str
    port: int
    server: ServerAddress
    snapshot: str | None
    read_only: bool

    @property
    def command(self) -> list[str]:
        """Return the command line. `-no-snapshot-load` alone would write the memory to the disk all the time, so a
        cold boot uses `-no-snapshot`."""
        start = ["-snapshot", self.snapshot] if self.snapshot else ["-no-snapshot"]
        words = [str(self.program), "-avd", self.avd, "-port", str(self.port), "-id", f"{MARK}-{self.port}"]
        return [*words, *_HEADLESS, *_LIGHT, *start, *(["-read-only"] if self.read_only else [])]

    @property
    def environment(self) -> dict[str, str]:
        return dict(self.sdk.environment) | {"ANDROID_ADB_SERVER_PORT": str(self.server.port)}


class Emulator:
    """A running instance. The constructor starts the process and does not wait for the boot. Raises OSError."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        if not launch.read_only:
            remove_locks(launch.sdk, launch.avd)
        self.child = Child(launch.command, launch.environment)

    @property
    def serial(self) -> str:
        return f"emulator-{self.launch.port}"

    def console(self, command: str, seconds: float = _CONSOLE_SECONDS) -> list[str]:
        """Run a console command. Raises ConsoleError."""
        return ask_console(self.launch.port, command, home=self.launch.sdk.home, seconds=seconds)

    def await_console(self, deadline: float) -> None:
        """Wait until the console answers. Raises PhonesUnavailable with the emulator's last words if it ends."""
        while True:
            if not self.child.running:
                raise PhonesUnavailable(f"{self.serial}: the emulator does not start: {self.child.last_words()}")
            try:
                self.console("ping")
                return self._check_snapshot()
            except ConsoleError as error:
                if time.monotonic() > deadline:
                    raise PhonesUnavailable(f"{self.serial}: {error}") from error
            time.sleep(0.2)

    def _check_snapshot(self) -> None:
        """Raise PhonesUnavailable if the emulator booted instead of loading its snapshot, which it only logs."""
        loaded, wanted = self.console("avd snapshot get"), self.launch.snapshot
        if wanted and wanted not in loaded:
            raise PhonesUnavailable(
                f"phones.emulators.snapshot: {self.launch.avd} did not start from {wanted!r} but from "
                f"{' '.join(loaded)}; take the snapshot again with this emulator, this GPU mode and this image"
            )

    def load_snapshot(self, name: str) -> None:
        """Load a snapshot in place; the instance must own its AVD. Raises PhoneError with the emulator's reason."""
        try:
            self.console(f"avd snapshot load {name}", _LOAD_SECONDS)
        except ConsoleError as error:
            raise PhoneError(self.serial, f"avd snapshot load {name}", str(error)) from error

    def answers(self, seconds: float) -> bool:
        """Return whether the process runs and its console answers within `seconds`."""
        with suppress(ConsoleError):
            return self.child.running and bool(self.console("ping", seconds))
        return False

    def close(self) -> None:
        """Stop the emulator by its console; kill it if it does not end. A second call does nothing."""
        if self.child.running:
            with suppress(ConsoleError):
                self.console("kill")
                deadline = time.monotonic() + _STOP_SECONDS
                while self.child.running and time.monotonic() < deadline:
                    time.sleep(0.05)
        self.child.close()
