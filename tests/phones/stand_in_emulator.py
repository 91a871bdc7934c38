"""A program that behaves as the SDK's `emulator`: options, locks, console, discovery file, announcement to adb.

A simulated phone answers at its adb port. The SDK folder of the tests starts it as `emulator -avd NAME -port N …`.
"""

import asyncio
import copy
import os
import re
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from mobile_r1_jax.phones.simulator.android.daemon import ListeningPhone, listen
from mobile_r1_jax.phones.simulator.device import Device

TOKEN = "Jx3kP0sQ"
SIZE = (112, 224)


@dataclass
class Options:
    """Return the parser of the command line; the real program has all of its options."""

    values: dict[str, str] = field(default_factory=dict)
    switches: set[str] = field(default_factory=set)


WITH_VALUE = {"avd", "port", "id", "gpu", "accel", "camera-back", "camera-front", "snapshot", "memory", "cores"}
SWITCHES = {"no-window", "no-audio", "no-boot-anim", "no-sim", "skip-adb-auth", "read-only"}
SWITCHES |= {"no-snapshot", "no-snapshot-save", "no-snapshot-load"}


def read_options(words: list[str]) -> Options:
    options, words = Options(), list(words)
    while words:
        name = words.pop(0).removeprefix("-")
        if name in WITH_VALUE:
            options.values[name] = words.pop(0)
        elif name in SWITCHES:
            options.switches.add(name)
        else:
            sys.exit(f"unknown option: -{name}\nplease use -help for a list of valid options")
    return options


class StandIn:
    """One instance. phone: the simulated phone on the adb port."""

    def __init__(self, options: Options, avd: Path, phone: ListeningPhone) -> None:
        self.options, self.avd, self.phone = options, avd, phone
        wanted = options.values.get("snapshot")
        self.loaded = wanted if wanted and (avd / "snapshots" / wanted).is_dir() else None
        self.snapshot = copy.deepcopy(vars(phone.android.device))
        self.ended = asyncio.Event()

    def command(self, line: str) -> list[str]:
        """Return the answer to a console command, without line ends; the last line begins with OK or KO."""
        words = line.split()
        if line == "ping":
            return ["I am alive!", "OK"]
        if line == "kill":
            self.ended.set()
            return ["OK: killing emulator, bye bye"]
        if words[:3] == ["avd", "snapshot", "get"]:
            return [self.loaded or "(null)", "OK"]
        if words[:3] == ["avd", "snapshot", "load"]:
            return self.load(words[3])
        if words[:2] == ["avd", "name"]:
            return [self.options.values["avd"], "OK"]
        return ["KO: unknown command, try 'help'"]

    def load(self, name: str) -> list[str]:
        if "read-only" in self.options.switches:
            return ['KO: Snapshot load is disabled because "-read-only" was specified']
        if not (self.avd / "snapshots" / name).is_dir():
            return [f"KO: snapshot {name} not found"]
        self.loaded = name
        vars(self.phone.android.device).update(copy.deepcopy(self.snapshot))
        with (self.avd / "loads.txt").open("a") as file:
            file.write(f"{name}\n")
        return ["OK"]

    async def console(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        home = Path(os.environ["HOME"]) / ".emulator_console_auth_token"

        def say(*lines: str) -> None:
            writer.write("".join(f"{line}\r\n" for line in lines).encode())

        say("Android Console: Authentication required", "Android Console: type 'auth <auth_token>' to authenticate")
        say("Android Console: you can find your <auth_token> in ", f"'{home}'", "OK")
        trusted = False
        async for raw in reader:
            line = raw.decode().strip()
            if line.startswith("auth "):
                trusted = line.removeprefix("auth ") == TOKEN
                text = "KO: authentication token does not match ~/.emulator_console_auth_token"
                say(*(["Android Console: type 'help' for a list of commands", "OK"] if trusted else [text]))
            elif line == "ping" or trusted:
                say(*self.command(line))
            else:
                say("KO: unknown command, try 'help'")
            await writer.drain()
        writer.close()


def take_locks(avd: Path, read_only: bool) -> list[Path]:
    """Take the AVD's locks, or end as the real program does when another instance holds them."""
    held, shared = avd / "multiinstance.lock", avd / "read-only.instances"
    for _ in range(3):
        if not held.exists() or (read_only and shared.exists()):
            break
        time.sleep(0.1)
    else:
        sys.exit(
            "Another emulator instance is running. Please close it or run all emulators with -read-only flag."
            if read_only
            else "Running multiple emulators with the same AVD is an experimental feature. Please use -read-only flag "
            "to enable this feature."
        )
    held.touch()
    if read_only:
        with shared.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return []
    (avd / "hardware-qemu.ini.lock").mkdir(exist_ok=True)
    return [held, avd / "hardware-qemu.ini.lock"]


def announce(port: int) -> None:
    """Tell the adb server of the environment about the adb port; without a server, go on silently."""
    request = f"host:emulator:{port}"
    try:
        with socket.create_connection(("127.0.0.1", int(os.environ.get("ANDROID_ADB_SERVER_PORT", "5037"))), 2) as to:
            to.sendall(f"{len(request):04x}{request}".encode())
    except OSError:
        pass


async def main() -> None:
    options = read_options(sys.argv[1:])
    name, port = options.values["avd"], int(options.values["port"])
    home = Path(os.environ["ANDROID_AVD_HOME"])
    avd = Path(re.search(r"^path=(.*)$", (home / f"{name}.ini").read_text(), re.M)[1])
    locks = take_locks(avd, "read-only" in options.switches)
    token = Path(os.environ["HOME"]) / ".emulator_console_auth_token"
    if not token.exists():
        token.write_text(TOKEN)
    phone = await listen(Device(size=SIZE, seed=port), port=port + 1)
    stand_in = StandIn(options, avd, phone)
    server = await asyncio.start_server(stand_in.console, "127.0.0.1", port)
    folder = Path(os.environ["XDG_RUNTIME_DIR"]) / "avd" / "running"
    folder.mkdir(parents=True, exist_ok=True)
    described = folder / f"pid_{os.getpid()}.ini"
    command = " ".join(f'"{word}"' for word in sys.argv)
    ports = f"port.serial={port}\nport.adb={port + 1}\n"
    described.write_text(f"{ports}avd.name={name}\navd.dir={avd}\ncmdline={command}\n")
    announce(port + 1)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stand_in.ended.set)
    with (avd / "starts.txt").open("a") as file:
        file.write(" ".join(sys.argv[1:]) + "\n")
    await stand_in.ended.wait()
    await asyncio.sleep(0.05)  # the client has not read the last answer yet
    server.close()
    described.unlink()
    for lock in locks:
        lock.rmdir() if lock.is_dir() else lock.unlink(missing_ok=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
