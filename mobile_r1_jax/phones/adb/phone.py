"""A phone behind an adb server: real, emulated or simulated."""

from __future__ import annotations

import base64
import re
import shlex
import struct
import time
from contextlib import suppress
from dataclasses import dataclass

from adbutils import AdbError

from mobile_r1_jax.agent.actions import (
    Action,
    Click,
    Key,
    LongPress,
    Open,
    Reply,
    Swipe,
    SystemButton,
    Terminate,
    Type,
    Wait,
)
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.phones.adb.apps import APP_PACKAGES
from mobile_r1_jax.phones.adb.stream import AdbStream, ServerAddress, announce, ask_server
from mobile_r1_jax.phones.phone import PhoneError
from mobile_r1_jax.tasks.task import Progress, Task

ADB_KEYBOARD = "com.android.adbkeyboard/.AdbIME"
_BUTTONS = {"Back": 4, "Home": 3, "Menu": 82, "Enter": 66}
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Timings:
    """Waits and limits, in seconds."""

    first_settle: float = 7.0  # wait for the screen after the first action of a task [kin]
    settle: float = 1.8  # the same after later actions [kin]
    longest_press: float = 2.0  # [kin]
    longest_wait: float = 3.0  # [kin]
    swipe: float = 0.5  # duration of a swipe [ours]
    keyboard_settle: float = 1.0  # from the choice of a keyboard to its first key [ours]
    limit: float = 15.0  # for one command; after it the phone counts as frozen [ours]


@dataclass(frozen=True)
class Answer:
    """The output and exit status of a shell command."""

    stdout: str
    stderr: str
    status: int


class AdbPhone:
    """A phone with a serial at an adb server; see `phone.Phone`. Needs Android 7 (shell with exit status).

    The constructor does not contact the phone. Every exchange ends within `timings.limit`. No call starts, stops or
    restarts a server.

    `generation` increases when a new phone without the old state replaces this one.
    """

    generation = 0

    def __init__(self, serial: str, server: ServerAddress = ServerAddress(), timings: Timings = Timings()) -> None:  # noqa: B008
        self.serial, self.server, self.timings = serial, server, timings
        self._size: tuple[int, int] | None = None
        self._apps: dict[str, str] | None = None
        self._first = True

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in device pixels: of the last screenshot or, before the first one, from `wm size`."""
        if self._size is None:
            answer = self.shell("wm size").stdout
            found = re.search(r"Override size: (\d+)x(\d+)", answer) or re.search(r"Physical size: (\d+)x(\d+)", answer)
            if found is None:
                raise PhoneError(self.serial, "wm size", f"no size in {answer!r}")
            self._size = int(found[1]), int(found[2])
        return self._size

    def screenshot(self) -> Screenshot:
        """Return the current screen. Raises PhoneError if the PNG is empty, truncated or corrupt."""
        command = "exec:screencap -p"
        data = self._service(command)
        # Phones with several displays print a warning into the same pipe first.
        png = data[max(data.find(_PNG), 0) :]
        try:
            screenshot = Screenshot(png)
            screenshot.verify()
        except ValueError as error:
            raise PhoneError(self.serial, command, str(error)) from error
        self._size = screenshot.width, screenshot.height
        return screenshot

    def perform(self, action: Action) -> str:
        """Perform an action and wait until the screen settles. Return "" or why the action had no effect.

        Points of any frame are converted to the device frame. If the phone does not know a name, the policy made a
        mistake, and the return value says so. Raises PhoneError only if the phone or the connection fails.
        """
        if isinstance(action, (Terminate, Reply)):
            return ""
        if isinstance(action, Wait):
            time.sleep(min(action.seconds, self.timings.longest_wait))
            return ""
        effect = self._type(action.text) if isinstance(action, Type) else self._touch(action)
        time.sleep(self.timings.first_settle if self._first else self.timings.settle)
        self._first = False
        return effect

    def reset(self, task: Task) -> None:
        """Press Home, stop every used app, press Home. Raises ValueError if the task has a setup."""
        if task.setup:
            raise ValueError(f"phone {self.serial}: a task for a real phone has no setup, got {dict(task.setup)!r}")
        self._checked("input keyevent 3")
        recents = re.findall(r"\bA=\d+:([\w.]+)", self.shell("dumpsys activity recents").stdout)
        others = set(re.findall(r"package:(\S+)", self.shell("pm list packages -3").stdout))
        used = sorted(others.intersection(recents) - {ADB_KEYBOARD.split("/")[0]})
        self._checked("; ".join([*(f"am force-stop {shlex.quote(package)}" for package in used), "input keyevent 3"]))
        self._first = True

    def progress(self) -> Progress | None:
        """Return None: a real phone does not know its task."""
        return None

    def shell(self, line: str) -> Answer:
        """Run a command line in the phone's shell. The caller quotes the arguments."""
        data = self._service(f"shell,v2,raw:{line}")
        outputs = {1: b"", 2: b""}
        at = 0
        while at + 5 <= len(data):
            kind, length = struct.unpack_from("<BI", data, at)
            body = data[at + 5 : at + 5 + length]
            at += 5 + length
            if kind == 3 and body:
                return Answer(outputs[1].decode(errors="replace"), outputs[2].decode(errors="replace"), body[0])
            if kind in outputs:
                outputs[kind] += body
        raise PhoneError(self.serial, line, "the phone hung up before the command's exit status")

    def reconnect(self) -> None:
        """Reconnect this phone and no other one, and wait until it has booted."""
        deadline = time.monotonic() + self.timings.limit
        with suppress(AdbError, OSError):  # the server may not know the phone; the calls below decide
            ask_server(self.server, f"host-serial:{self.serial}:reconnect", self.timings.limit)
        while True:
            with suppress(AdbError, OSError):  # in every loop: the server refuses while it holds the old connection
                self._announce()
            try:
                if self.shell("getprop sys.boot_completed").stdout.strip() == "1":
                    return
                reason = "it has not finished booting"
            except PhoneError as error:
                reason = error.reason
            if time.monotonic() > deadline:
                raise PhoneError(self.serial, "reconnect", reason, delivered=False)
            time.sleep(0.1)

    def _announce(self) -> None:
        """Announce the phone to the server if the serial contains its address. The server finds USB phones itself."""
        if match := re.fullmatch(r"emulator-(\d+)", self.serial):
            announce(self.server, int(match[1]) + 1, self.timings.limit)
        elif ":" in self.serial:
            ask_server(self.server, f"host:connect:{self.serial}", self.timings.limit)

    def _service(self, service: str) -> bytes:
        """Open a service on the phone and return all its output. Raises PhoneError on any failure."""
        limit, delivered = self.timings.limit, False
        try:
            with AdbStream(self.server, limit) as stream:
                stream.request(f"host:transport:{self.serial}")
                delivered = True
                stream.request(service)
                return stream.to_end()
        except TimeoutError:
            reason = f"no answer within {limit} s"
        except (AdbError, OSError, UnicodeError) as error:
            reason = str(error) or type(error).__name__
        raise PhoneError(self.serial, service, reason, delivered=delivered)

    def _checked(self, line: str) -> str:
        answer = self.shell(line)
        if answer.status != 0:
            reason = answer.stderr.strip() or answer.stdout.strip()
            raise PhoneError(self.serial, line, f"exit status {answer.status}: {reason[:200]}")
        return answer.stdout

    def _touch(self, action: Action) -> str:
        if isinstance(action, Click):
            x, y = self._pixels(action.point)
            self._checked(f"input tap {x} {y}")
        elif isinstance(action, LongPress):
            x, y = self._pixels(action.point)
            # Android needs at least half a second for a long press.
            milliseconds = round(1000 * min(max(action.seconds, 0.5), self.timings.longest_press))
            self._checked(f"input swipe {x} {y} {x} {y} {milliseconds}")
        elif isinstance(action, Swipe):
            (x1, y1), (x2, y2) = self._pixels(action.start), self._pixels(action.end)
            self._checked(f"input swipe {x1} {y1} {x2} {y2} {round(1000 * self.timings.swipe)}")
        elif isinstance(action, SystemButton):
            self._checked(f"input keyevent {_BUTTONS[action.button]}")
        elif isinstance(action, Key):
            return self._press(action.text)
        elif isinstance(action, Open):
            return self._open(action.app)
        else:
            raise TypeError(f"phone {self.serial}: no such action: {action!r}")
        return ""

    def _pixels(self, point: Point) -> tuple[int, int]:
        moved = point.to(Frame("device", *self.size))
        return moved.x, moved.y

    def _press(self, name: str) -> str:
        code = name.strip().upper().removeprefix("KEYCODE_")
        if not re.fullmatch(r"[A-Z0-9_]+", code, re.ASCII):
            return f"no key is called {name!r}"
        self._checked(f"input keyevent {code if code.isdigit() else 'KEYCODE_' + code}")
        return ""

    def _type(self, text: str) -> str:
        """Type ASCII by `input text`, and text that `input text` would lose or change by the ADB keyboard."""
        if not text:
            return "nothing to type"
        if re.fullmatch(r"[ -~]+", text) and "%s" not in text:
            self._checked(f"input text {shlex.quote(text.replace(' ', '%s'))}")
            return ""
        encoded = base64.b64encode(text.encode(errors="replace")).decode()
        line = (
            "settings get secure default_input_method && "
            f"am broadcast -a ADB_INPUT_B64 --es msg {encoded} -p {ADB_KEYBOARD.split('/')[0]}"
        )
        # Only the active keyboard receives the broadcast, and the broadcast does not report a failure.
        if not self._checked(line).startswith(ADB_KEYBOARD):
            self._checked(f"ime enable {ADB_KEYBOARD} && ime set {ADB_KEYBOARD}")
            time.sleep(self.timings.keyboard_settle)
            if not self._checked(line).startswith(ADB_KEYBOARD):
                raise PhoneError(
                    self.serial, "ime set", f"{ADB_KEYBOARD} cannot be selected as keyboard: install ADBKeyBoard"
                )
        return ""

    def _open(self, app: str) -> str:
        if self._apps is None:
            self._apps = {name.casefold(): package for name, package in self.installed_apps().items()}
        package = self._apps.get(app.strip().casefold())
        if package is None:
            return f"no app is called {app!r}"
        line = f"monkey -p {shlex.quote(package)} -c android.intent.category.LAUNCHER 1"
        answer = self.shell(line)
        if "No activities found" in answer.stdout:
            return f"{app!r} has nothing to open"
        if "Events injected: 1" not in answer.stdout:
            raise PhoneError(self.serial, line, f"the app did not start: {answer.stdout.strip()[:200]}")
        return ""

    def installed_apps(self) -> dict[str, str]:
        """Return app name -> package of the installed apps with known names."""
        installed = set(re.findall(r"^package:(\S+)", self._checked("pm list packages"), re.MULTILINE))
        return {name: package for name, package in APP_PACKAGES.items() if package in installed}
