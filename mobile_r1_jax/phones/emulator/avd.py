"""The files of virtual devices (AVDs): where they are, copies of one, and what a killed emulator left behind."""

import os
import re
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mobile_r1_jax.phones.phone import PhonesUnavailable

_LOCKS = ("hardware-qemu.ini.lock", "snapshot.lock", "multiinstance.lock")
_NAMES_INSIDE = (
    "config.ini",
    "hardware-qemu.ini",
    "snapshots/*/hardware.ini",
)  # they hold name and path


@dataclass(frozen=True)
class Sdk:
    """The SDK that environment variables name. environment: of the emulators, such as os.environ."""

    environment: Mapping[str, str]

    @property
    def home(self) -> Path:
        return Path(self.environment.get("HOME") or Path.home())

    def emulator(self) -> Path:
        """Return the `emulator` program. Raises PhonesUnavailable if there is none."""
        roots = [self.environment.get(name) for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT")]
        places = [Path(root) / "emulator" / "emulator" for root in roots if root]
        found = next((place for place in places if os.access(place, os.X_OK)), None)
        found = found or shutil.which("emulator", path=self.environment.get("PATH", os.defpath))
        if found is None:
            raise PhonesUnavailable(
                "phones.emulators: no `emulator` program in ANDROID_HOME, ANDROID_SDK_ROOT or PATH; install the "
                "package `emulator` by sdkmanager, and set ANDROID_HOME to the SDK"
            )
        return Path(found)

    def avd_home(self) -> Path:
        """Return the folder of AVDs, by the emulator's own order of variables."""
        get = self.environment.get
        sdk_home = get("ANDROID_SDK_HOME")
        places = [get("ANDROID_AVD_HOME"), sdk_home and f"{sdk_home}/avd", sdk_home and f"{sdk_home}/.android/avd"]
        places.append(get("ANDROID_EMULATOR_HOME") and f"{get('ANDROID_EMULATOR_HOME')}/avd")
        found = next((Path(place) for place in places if place and Path(place).is_dir()), None)
        return found or self.home / ".android" / "avd"

    def avd(self, name: str) -> Path:
        """Return the folder NAME.avd. Raises PhonesUnavailable if there is no such AVD, with the names there are."""
        ini = self.avd_home() / f"{name}.ini"
        if not ini.is_file():
            names = ", ".join(sorted(file.stem for file in self.avd_home().glob("*.ini"))) or "none"
            raise PhonesUnavailable(f"phones.emulators.avd: no AVD {name!r} in {self.avd_home()}; there are: {names}")
        values = dict(re.findall(r"^\s*([\w.]+)\s*=\s*(.*?)\s*$", ini.read_text(errors="replace"), re.MULTILINE))
        places = [Path(values.get("path", "")), self.avd_home().parent / values.get("path.rel", f"avd/{name}.avd")]
        found = next((place for place in places if (place / "config.ini").is_file()), None)
        if found is None:
            raise PhonesUnavailable(f"phones.emulators.avd: {ini} names no folder with a config.ini")
        return found


def copy_avd(sdk: Sdk, name: str, copy: str) -> None:
    """Copy an AVD with its snapshots to another name, unless the copy is newer. Raises PhonesUnavailable, OSError."""
    source, home = sdk.avd(name), sdk.avd_home()
    target = home / f"{copy}.avd"
    ini = home / f"{copy}.ini"
    if ini.is_file() and _newest(target) >= _newest(source):
        return
    ini.unlink(missing_ok=True)  # written last: a copy that was cut off is made again
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.lock"))
    for pattern in _NAMES_INSIDE:
        for file in target.glob(pattern):
            text = file.read_text(errors="surrogateescape").replace(str(source), str(target))
            text = re.sub(
                rf"^((?:AvdId|avd\.name|avd\.id)\s*=\s*){re.escape(name)}\s*$", rf"\g<1>{copy}", text, flags=re.M
            )
            file.write_text(text, errors="surrogateescape")
    lines = (home / f"{name}.ini").read_text(errors="replace").splitlines()
    kept = [line for line in lines if not line.startswith(("path=", "path.rel="))]
    ini.write_text("\n".join([*kept, f"path={target}", f"path.rel=avd/{copy}.avd"]) + "\n")


def _newest(folder: Path) -> float:
    """Return when an AVD's settings or snapshots were last changed."""
    files = [folder / "config.ini", *folder.glob("snapshots/*/snapshot.pb")]
    return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)


@dataclass(frozen=True)
class RunningEmulator:
    """A running emulator, as it describes itself in a file. port: of its console."""

    pid: int
    port: int
    avd: Path
    command: str


def running_emulators(sdk: Sdk) -> Iterator[RunningEmulator]:
    """Yield the emulators of this user that run. Files of emulators that have ended are passed over."""
    runtime = sdk.environment.get("XDG_RUNTIME_DIR")
    folders = [Path(runtime) / "avd" / "running"] if runtime else []
    folders += [Path(f"/run/user/{os.getuid()}/avd/running"), sdk.home / ".android" / "avd" / "running"]
    for file in {file.resolve(): file for folder in folders for file in folder.glob("pid_*.ini")}:
        text = file.read_text(errors="replace")
        values = dict(re.findall(r"^\s*([\w.]+)\s*=\s*(.*?)\s*$", text, re.MULTILINE))
        pid = int(file.stem.removeprefix("pid_")) if file.stem.removeprefix("pid_").isdigit() else 0
        if pid and _lives(pid) and values.get("port.serial", "").isdigit():
            yield RunningEmulator(
                pid, int(values["port.serial"]), Path(values.get("avd.dir", "")), values.get("cmdline", "")
            )


def remove_locks(sdk: Sdk, name: str) -> None:
    """Remove the locks that a killed emulator left on an AVD, unless an emulator of this AVD runs."""
    folder = sdk.avd(name)
    if not any(running.avd.resolve() == folder.resolve() for running in running_emulators(sdk)):
        for lock in _LOCKS:
            path = folder / lock
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)


def kill_orphans(sdk: Sdk, mark: str) -> int:
    """Kill the emulators whose command line has `mark` and whose own parent is gone. Return their number."""
    killed = 0
    for running in running_emulators(sdk):
        if mark in running.command and _parent(running.pid) == 1:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(running.pid, signal.SIGKILL)
                killed += 1
    return killed


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _parent(pid: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0
