"""The Android system of a simulated phone: settings, keyboards, storage and commands. The shell runs on it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mobile_r1_jax.phones.simulator.android.files import File, Files
from mobile_r1_jax.phones.simulator.android.shell import Process, Program, Result

ADB_KEYBOARD = "com.android.adbkeyboard/.AdbIME"
STOCK_KEYBOARD = "com.android.inputmethod.latin/.LatinIME"

PROPERTIES = {
    "dev.bootcomplete": "1",
    "init.svc.bootanim": "stopped",
    "persist.sys.locale": "en-US",
    "persist.sys.timezone": "UTC",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.product.brand": "mobile-r1-jax",
    "ro.product.cpu.abi": "x86_64",
    "ro.product.device": "simulated",
    "ro.product.manufacturer": "mobile-r1-jax",
    "ro.product.model": "Simulated Phone",
    "ro.product.name": "simulated",
    "sys.boot_completed": "1",
}


class Device(Protocol):
    """The simulated phone without adb, implemented by `device.Device`: gestures and keys in, pixels and state out.

    Points and sizes are in device pixels. `packages` maps each package to the label of its app. `focus` is the
    (package, activity) in the foreground. Key names are Android's without KEYCODE_.
    """

    size: tuple[int, int]

    @property
    def packages(self) -> dict[str, str]: ...
    @property
    def focus(self) -> tuple[str, str]: ...
    def screenshot(self) -> bytes: ...
    def elements(self) -> list[Any]: ...
    def tap(self, x: int, y: int) -> None: ...
    def long_press(self, x: int, y: int) -> None: ...
    def swipe(self, x1: int, y1: int, x2: int, y2: int) -> None: ...
    def type_text(self, text: str) -> None: ...
    def key(self, name: str) -> None: ...
    def launch(self, package: str) -> bool: ...
    def reset(self, setup: dict[str, Any]) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def progress(self) -> dict[str, Any]: ...


def _fresh_settings() -> dict[str, dict[str, str]]:
    scales = {f"{name}_scale": "1" for name in ("window_animation", "transition_animation", "animator_duration")}
    return {
        "system": {
            "accelerometer_rotation": "1",
            "screen_brightness": "102",
            "screen_brightness_mode": "0",
            "user_rotation": "0",
        },
        "secure": {"default_input_method": STOCK_KEYBOARD, "enabled_input_methods": STOCK_KEYBOARD},
        "global": {"airplane_mode_on": "0"} | scales,
    }


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
    tools: Mapping[str, Tool] = field(default_factory=dict)  # by name
    files: Files = field(default_factory=Files)
    settings: dict[str, dict[str, str]] = field(default_factory=_fresh_settings)
    awake: bool = True
    on_reboot: Callable[[], None] = lambda: None  # set by the daemon: drops all connections
    touched: tuple[int, int] | None = None  # where a finger is down
    home_package: str = ""
    background: set[asyncio.Task[int]] = field(default_factory=set)  # commands that run in it

    def __post_init__(self) -> None:
        self.home_package = self.device.focus[0]
        for name in (*self.commands, *self.tools):
            self.files.files[f"/system/bin/{name}"] = File(b"\x7fELF", 0o100755, 1230768000)

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
        if "-S" in process.arguments and process.arguments[-1:] != ["-S"]:
            count = process.arguments[process.arguments.index("-S") + 1]
            stdin = await process.stdin.exactly(int(count)) if count.isdigit() else b""
        self.files.directory = process.directory
        result = command(self, process.arguments, stdin)
        for descriptor, data in result.chunks:
            (process.out if descriptor == 1 else process.error)(data)
        return result.status

    @property
    def keyboard(self) -> str:
        """The selected input method, as package/class."""
        return self.settings["secure"]["default_input_method"]

    @property
    def packages(self) -> dict[str, str]:
        """Package -> label of every installed app."""
        keyboards = {ADB_KEYBOARD: "ADB Keyboard", STOCK_KEYBOARD: "Keyboard"}
        return dict(self.device.packages) | {name.split("/")[0]: label for name, label in keyboards.items()}

    def reboot(self) -> None:
        """End the commands in the background, go to the home screen, and drop all connections."""
        for task in self.background:
            task.cancel()
        self.device.key("HOME")
        self.on_reboot()
