"""Settings of the phones of a run."""

from dataclasses import dataclass
from typing import Annotated, Literal

SIMULATOR = "simulator"  # the value of `tasks` for the simulator's own tasks
PhoneSource = Literal["simulated", "devices", "emulators"]


@dataclass(frozen=True)
class Timings:
    """Waits and limits of a phone, in seconds. A wait of 0 is skipped, with its check."""

    first_settle: Annotated[float, "[0, 60]"] = 7.0  # wait after the first action of a task [kin]
    settle: Annotated[float, "[0, 60]"] = 1.8  # wait after later actions [kin]
    still: Annotated[float, "[0, 60]"] = 4.0  # longest wait after that for two equal screenshots in a row
    longest_press: Annotated[float, "(0, 60]"] = 2.0  # longest long press [kin]
    longest_wait: Annotated[float, "[0, 3600]"] = 3.0  # longest wait action [kin]
    swipe: Annotated[float, "(0, 60]"] = 0.5  # duration of a swipe
    front: Annotated[float, "[0, 60]"] = 5.0  # longest wait for an opened app; 0 does not look for icons
    typed: Annotated[float, "[0, 60]"] = 1.0  # wait before typed text is compared with the text in its field
    keyboard_settle: Annotated[float, "[0, 60]"] = 1.0  # wait from the choice of a keyboard to its first key
    retake: Annotated[float, "[0, 60]"] = 1.0  # wait before a blank or refused screenshot is taken again
    limit: Annotated[float, "(0, 600]"] = 15.0  # for one command; after it the phone counts as frozen
    per_character: Annotated[float, "[0, 10]"] = 0.1  # added to the limit for each character of typed text


# Of simulated phones, which react at once and never lose text.
INSTANT = Timings(first_settle=0, settle=0, still=0, longest_wait=0, front=0, typed=0, keyboard_settle=0, retake=0)


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
class GuardSettings:
    """The actions that the guard refuses or asks a person about, on phones that are not simulated."""

    allow: tuple[str, ...] = ()  # packages of the apps that may be opened and be in front; []: all
    # actions that need a person's confirmation or the task's `permits`; risky: payment, deletion, sending, installing,
    # permissions
    confirm: Literal["every", "risky", "never"] = "risky"


@dataclass(frozen=True)
class PhoneSettings:
    """The phones for training and evaluation."""

    source: tuple[PhoneSource, ...] = ("simulated",)  # where the phones come from, one or several
    count: Annotated[int, "[1, inf)"] = 16  # simulated phones
    most_turns: Annotated[int, "[1, inf)"] = 15  # turns after which an episode ends [kin]
    timings: Timings | None = None  # Waits and limits; null: simulated phones do not wait.
    simulated: SimulatedSettings = SimulatedSettings()  # Simulated phones and their tasks.
    devices: DeviceSettings = DeviceSettings()  # Phones and emulators of an adb server.
    emulators: EmulatorSettings = EmulatorSettings()  # Emulators that the run starts.

    @property
    def expected(self) -> int:
        """Return the number of phones; for `all` devices of a server a guess, 8."""
        devices = 8 if "all" in self.devices.serials else len(self.devices.serials)
        numbers = {"simulated": self.count, "devices": devices, "emulators": self.emulators.count}
        return sum(numbers[source] for source in self.source)
