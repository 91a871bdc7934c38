"""The Android system of a simulated phone: settings, keyboards, storage and commands. The shell runs on it."""

import asyncio
import functools
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from mobile_r1_jax.phones.simulator.android.database import Appearances, contacts
from mobile_r1_jax.phones.simulator.android.failures import Raised, raised
from mobile_r1_jax.phones.simulator.android.files import File, Files
from mobile_r1_jax.phones.simulator.android.hardware import Hardware
from mobile_r1_jax.phones.simulator.android.log import Log
from mobile_r1_jax.phones.simulator.android.settings_table import DEFAULTS, STOCK_KEYBOARD, Namespace
from mobile_r1_jax.phones.simulator.android.shell import Process, Program, Result
from mobile_r1_jax.phones.simulator.android.tasks import Tasks
from mobile_r1_jax.phones.simulator.android.trouble import PhoneTrouble
from mobile_r1_jax.phones.simulator.app import App, Rows

ADB_KEYBOARD = "com.android.adbkeyboard/.AdbIME"

_OTHERS = {
    "android": "Android System",
    "com.android.adbkeyboard": "ADB Keyboard",
    "com.android.inputmethod.latin": "Keyboard",
    "com.android.providers.contacts": "Contacts Storage",
    "com.android.systemui": "System UI",
}

SDK = {9: 28, 10: 29, 11: 30, 12: 31, 13: 33, 14: 34, 15: 35, 16: 36}
"""Android version -> API level. The keys are the versions that a simulated phone can have."""

_BUILD_IDS = {9: "PSR1", 10: "QSR1", 11: "RSR1", 12: "SE1A", 13: "TE1A", 14: "UE1A", 15: "AE3A", 16: "BE2A"}
PROPERTIES = {
    "dev.bootcomplete": "1",
    "init.svc.bootanim": "stopped",
    "persist.sys.timezone": "UTC",
    "ro.build.tags": "release-keys",
    "ro.build.type": "user",
    "ro.product.brand": "mobile-r1-jax",
    "ro.product.cpu.abi": "x86_64",
    "ro.product.device": "simulated",
    "ro.product.locale": "en-US",
    "ro.product.manufacturer": "mobile-r1-jax",
    "ro.product.model": "Simulated Phone",
    "ro.product.name": "simulated",
    "sys.boot_completed": "1",
}


def properties(version: int, serial: str) -> dict[str, str]:
    """Return all system properties of a phone with an Android version of SDK."""
    build = f"{_BUILD_IDS[version]}.250101.001"
    return PROPERTIES | {
        "ro.build.fingerprint": f"mobile-r1-jax/simulated/simulated:{version}/{build}/1:user/release-keys",
        "ro.build.id": build,
        "ro.build.version.release": str(version),
        "ro.build.version.sdk": str(SDK[version]),
        "ro.serialno": serial,
    }


class Device(Protocol):
    """The simulated phone without adb, implemented by `device.Device`: gestures and keys in, pixels and state out.

    Points and sizes are in device pixels. `packages` maps each package to the label of its app. `focus` is the
    (package, activity) in the foreground. A `secure` screen must not be captured. Key names are Android's without
    KEYCODE_. `switches` are the live switches of the Settings app: name -> whether it is on. `volume` is from 0 to 15.
    `awake`: the screen is on. `locked`: the lock screen covers everything; `lock_screen`: it does so after the phone
    has slept. `loading`: the page has no content until some calls of `look`; a `screenshot` calls it, a `picture` not.
    """

    size: tuple[int, int]
    apps: Mapping[str, App]  # by package; a package without one has an empty App
    volume: int
    lock_screen: bool

    @property
    def awake(self) -> bool: ...
    @property
    def locked(self) -> bool: ...
    def unlock(self) -> None: ...

    @property
    def switches(self) -> MutableMapping[str, bool]: ...

    @property
    def packages(self) -> dict[str, str]: ...
    @property
    def focus(self) -> tuple[str, str]: ...
    @property
    def secure(self) -> bool: ...
    @property
    def scrollable(self) -> bool: ...
    @property
    def loading(self) -> bool: ...
    def look(self) -> None: ...
    def screenshot(self) -> bytes: ...
    def picture(self) -> bytes: ...
    def elements(self) -> list[Any]: ...
    def tap(self, x: int, y: int) -> None: ...
    def long_press(self, x: int, y: int) -> None: ...
    def swipe(self, x1: int, y1: int, x2: int, y2: int) -> None: ...
    def type_text(self, text: str) -> None: ...
    def key(self, name: str) -> None: ...
    def launch(self, package: str) -> bool: ...
    def interrupt(self, kind: str, duration: float, rng: Random, version: int) -> None: ...
    def open(self, page: str) -> None: ...
    def clear(self, package: str) -> None: ...
    @property
    def tables(self) -> Mapping[str, Rows]: ...
    @property
    def alarms(self) -> list[str]: ...
    def perform(self, package: str, action: str, extras: Mapping[str, str]) -> bool: ...
    def reset(self, setup: dict[str, Any]) -> None: ...
    def state(self) -> dict[str, Any]: ...
    @property
    def instruction(self) -> str: ...
    def progress(self) -> dict[str, Any]: ...


Command = Callable[["Android", list[str], bytes], Result]
"""A command of the shell, called with the system and the arguments.

The last argument is empty, unless the command has the option `-S COUNT`: then it holds so many bytes of the standard
input, as `cmd package install -S` needs them.
"""

Tool = Callable[["Android", Process], Awaitable[int]]
"""A command that may read its standard input, wait, or run other commands."""


@dataclass
class Android:
    """One simulated phone's system."""

    device: Device
    serial: str
    commands: Mapping[str, Command]  # by name
    version: int = 14  # a key of SDK
    tools: Mapping[str, Tool] = field(default_factory=dict)  # by name
    users: dict[int, str] = field(default_factory=lambda: {0: "Owner"})  # 150: a Secure Folder
    removed: set[str] = field(default_factory=set)  # packages that were uninstalled
    granted: set[tuple[str, str]] = field(default_factory=set)  # (package, permission) by pm grant
    hardware: Hardware = field(init=False)
    volumes: dict[int, int] = field(default_factory=dict)  # by stream, once it was changed; music is the device's
    tasks: Tasks = field(default_factory=Tasks)
    appearances: Appearances = field(default_factory=Appearances)
    log: Log = field(default_factory=Log)
    files: Files = field(default_factory=Files)
    settings: dict[str, Namespace] = field(init=False)  # by namespace: android.settings["global"]["wifi_on"] = "0"
    on_reboot: Callable[[], None] = lambda: None  # set by the daemon: drops all connections
    touched: tuple[int, int] | None = None  # where a finger is down
    home_package: str = ""
    trouble: PhoneTrouble = field(default_factory=PhoneTrouble)
    background: set[asyncio.Task[int]] = field(default_factory=set)  # commands that run in it

    def __post_init__(self) -> None:
        self.hardware = Hardware(self.device.size)
        self.home_package = self.device.focus[0]
        self.settings = {name: Namespace(name, lambda: self.device.switches) for name in DEFAULTS}
        self.tasks.note(*self.device.focus)
        for name in (*self.commands, *self.tools):
            self.files.files[f"/system/bin/{name}"] = File(b"\x7fELF", 0o100755, 1230768000)

    @property
    def awake(self) -> bool:
        return self.device.awake

    @property
    def not_found(self) -> str:
        return "not found" if self.version < 10 else "inaccessible or not found"

    def program(self, name: str) -> Program | None:
        """Return the program that the shell runs as `name`; None if there is none."""
        short = name.removeprefix("/system/bin/")
        tool = self.tools.get(short)
        if tool is not None:
            return lambda process: tool(self, process)
        command = self.commands.get(short)
        return None if command is None else lambda process: self._run(command, process)

    async def _run(self, command: Command, process: Process) -> int:
        stdin = b""
        installs = "install" in process.arguments[:2]  # pm install, cmd package install
        if installs and "-S" in process.arguments and process.arguments[-1:] != ["-S"]:
            count = process.arguments[process.arguments.index("-S") + 1]
            stdin = await process.stdin.exactly(int(count)) if count.isdigit() else b""
        self.files.directory = process.directory
        result = self.run(command, process.arguments, stdin)
        for descriptor, data in result.chunks:
            (process.out if descriptor == 1 else process.error)(data)
        return result.status

    def run(self, handler: Command, arguments: list[str], stdin: bytes) -> Result:
        """Run a command of a service, such as am, whose first argument is its verb."""
        try:
            return handler(self, arguments, stdin)
        except Raised as error:
            verb = next((word for word in arguments if not word.startswith("-")), "")
            return raised(self.version, verb, str(error))
        finally:
            self.note()

    def note(self) -> None:
        """Note what the last command changed: the app in front, and the rows of the apps' tables."""
        self.tasks.note(*self.device.focus)
        self.appearances.note(table.rows for table in self.device.tables.values())

    @functools.cached_property
    def contacts(self) -> sqlite3.Connection:
        """The database of contacts."""
        return contacts()

    @property
    def keyboard(self) -> str:
        """The selected input method, as package/class."""
        return self.settings["secure"]["default_input_method"]

    @property
    def packages(self) -> dict[str, str]:
        """Package -> label of every installed package."""
        return {
            name: label for name, label in (*self.device.packages.items(), *_OTHERS.items()) if name not in self.removed
        }

    @property
    def system_packages(self) -> set[str]:
        """The packages that Android counts among its own."""
        apps = {name for name, app in self.device.apps.items() if app.system}
        return apps | {self.home_package, *_OTHERS} - {ADB_KEYBOARD.split("/")[0]}

    def remove_keyboard(self) -> None:
        """Uninstall the ADB keyboard. Android then selects its own one."""
        self.removed.add(ADB_KEYBOARD.split("/")[0])
        secure = self.settings["secure"]
        enabled = [name for name in secure["enabled_input_methods"].split(":") if name != ADB_KEYBOARD]
        secure["enabled_input_methods"] = ":".join(enabled)
        if self.keyboard == ADB_KEYBOARD:
            secure["default_input_method"] = STOCK_KEYBOARD

    @property
    def keyboards(self) -> list[str]:
        """The installed input methods, as package/class."""
        return [name for name in (ADB_KEYBOARD, STOCK_KEYBOARD) if name.split("/")[0] in self.packages]

    def lose_keyboard(self) -> None:
        """Select the stock keyboard, as Android does when it ends another one."""
        self.settings["secure"]["default_input_method"] = STOCK_KEYBOARD

    def reboot(self) -> None:
        """End the commands in the background, wake up at the home screen, and drop all connections."""
        for task in self.background:
            task.cancel()
        self.device.key("WAKEUP")
        self.device.launch(self.home_package)
        self.tasks = Tasks()
        self.on_reboot()
