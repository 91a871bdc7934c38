"""Settings of the phones of a run."""

from dataclasses import dataclass
from typing import Annotated, Literal

PhoneSource = Literal["simulated", "devices", "emulators"]


@dataclass(frozen=True)
class SimulatedSettings:
    """Simulated phones and their tasks."""

    size: Annotated[tuple[int, int], "[1, 16384]"] = (1080, 2400)  # (width, height) in device pixels
    apps: tuple[str, ...] = ("settings", "shop", "messages", "launcher")  # apps that training tasks use
    unseen_apps: tuple[str, ...] = ("clock",)  # apps that only evaluation tasks use
    popups: Annotated[float, "[0, 100]"] = 0.5  # mean number of pop-ups in a task


@dataclass(frozen=True)
class DeviceSettings:
    """Phones and emulators that an adb server knows already. The server is never started or stopped."""

    server: str | None = None  # HOST:PORT of the adb server; null: as adb's environment variables say
    serials: tuple[str, ...] = ("all",)  # serials, as `adb devices` prints them; all: every one in state `device`


@dataclass(frozen=True)
class EmulatorSettings:
    """Emulators that the run starts from one AVD, by the SDK's `emulator` program, and stops at its end."""

    avd: str | None = None  # name of the AVD, as `emulator -list-avds` prints it
    count: Annotated[int, "[1, 512]"] = 1  # instances
    snapshot: str | None = None  # snapshot that every task starts from; null: boot once, and only stop used apps
    # give each instance a copy of the AVD, which loads the snapshot in place; false: share it, and start again from it
    copies: bool = False
    loads: Annotated[int, "[1, inf)"] = 50  # tasks after which an emulator is started again
    first_port: Annotated[int, "[1024, 64000]"] = 5600  # console port of the first; each next one is two higher


@dataclass(frozen=True)
class PhoneSettings:
    """The phones for training and evaluation."""

    source: tuple[PhoneSource, ...] = ("simulated",)  # where the phones come from, one or several
    count: Annotated[int, "[1, inf)"] = 16  # simulated phones
    most_turns: Annotated[int, "[1, inf)"] = 15  # turns after which an episode ends [kin]
    simulated: SimulatedSettings = SimulatedSettings()  # Simulated phones and their tasks.
    devices: DeviceSettings = DeviceSettings()  # Phones and emulators of an adb server.
    emulators: EmulatorSettings = EmulatorSettings()  # Emulators that the run starts.
