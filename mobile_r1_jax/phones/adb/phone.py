"""A phone behind an adb server: real, emulated or simulated."""

from __future__ import annotations

import re
import time
from pathlib import Path

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
from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.agent.progress import Progress
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.phones.adb import task_program
from mobile_r1_jax.phones.adb.keyboard import AdbKeyboard
from mobile_r1_jax.phones.adb.keys import find_key, is_refused
from mobile_r1_jax.phones.adb.opening import LABELS, Apps, reported_labels
from mobile_r1_jax.phones.adb.readiness import prepare, set_upright, wake
from mobile_r1_jax.phones.adb.saved import SavedSettings, user_state
from mobile_r1_jax.phones.adb.screen import PhoneScreen
from mobile_r1_jax.phones.adb.shell import AdbShell
from mobile_r1_jax.phones.adb.stream import ServerAddress
from mobile_r1_jax.phones.adb.text_input import TextInput
from mobile_r1_jax.phones.adb.used import stop_used_apps
from mobile_r1_jax.phones.phone import PhoneError, SecurePage
from mobile_r1_jax.phones.settings import Timings
from mobile_r1_jax.tasks.task import Task

_BUTTONS = {"Back": 4, "Home": 3, "Menu": 82, "Enter": 66}
_HOME = "input keyevent 3"


class AdbPhone(AdbShell):
    """A phone with a serial at an adb server; see `phone.Phone`. Needs Android 7 (shell with exit status).

    The constructor does not contact the phone. Every exchange ends within `timings.limit`. No call starts, stops or
    restarts a server. `server`: default: the one that the environment names.

    state: folder for the changed settings of the phone until they are restored; default: in the user's state directory.

    `generation` increases when a new phone without the old state replaces this one. `restores`: whether the settings
    are changed for the fleet and restored.
    """

    generation = 0
    restores = True
    decisions = ()  # it has no guard

    def __init__(
        self,
        serial: str,
        server: ServerAddress | None = None,
        timings: Timings = Timings(),  # noqa: B008
        state: Path | None = None,
    ) -> None:
        super().__init__(serial, server or ServerAddress.from_environment(), timings.limit)
        self.timings = timings
        self._saved = SavedSettings(self, state or user_state()) if self.restores else None
        self._keyboard = AdbKeyboard(self, self._saved, timings.keyboard_settle)
        self._text_input = TextInput(self, self._keyboard, timings)
        self._apps = Apps(self, self._current_user, self.labels, timings.front)
        self._screen = PhoneScreen(self, self._wake, timings.retake)
        self._size: tuple[int, int] | None = None
        self._user: int | None = None
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

    def enter(self) -> None:
        """Restore the settings that a crashed run changed, then prepare the phone and check it.

        It is awake, unlocked and upright, shows its home screen, and gives a picture of it. Its settings are saved and
        changed until `leave`. Raises PhoneError if it cannot be used.
        """
        if self._saved:
            self._saved.restore()
            prepare(self._saved)
        self._keyboard.look_up()
        self._return_home()

    def revive(self) -> None:
        """Reconnect, and check that the phone gives a picture of its home screen."""
        self.reconnect()
        self._return_home()

    def release(self) -> None:
        """Select the user's keyboard again."""
        if self._saved:
            self._saved.restore_keyboard()

    def leave(self) -> None:
        """Restore all settings that `enter` and the episodes changed."""
        if self._saved:
            self._saved.restore()

    def screenshot(self) -> Screenshot:
        """Return the current screen; see `PhoneScreen.capture`."""
        screenshot = self._screen.capture()
        self._size = screenshot.width, screenshot.height
        return screenshot

    def perform(self, action: Action) -> str:
        """Perform an action and wait until the screen settles. Return "" or why the action had no effect.

        Points of any frame are converted to the device frame. If there is no such key, app or text field, or the key
        must not be pressed, the policy made a mistake, and the return value says so. Raises PhoneError only if the
        phone or the connection fails.
        """
        if isinstance(action, (Terminate, Reply)):
            return ""
        if isinstance(action, Wait):
            time.sleep(min(action.seconds, self.timings.longest_wait))
            return ""
        effect = self._act(action)
        time.sleep(self.timings.first_settle if self._first else self.timings.settle)
        self._screen.wait_until_still(self.timings.still)
        self._first = False
        return effect

    def reset(self, task: Task) -> None:
        """Wake and unlock the phone, stop every used app, run the task's setup, and go to its start screen.

        Raises ValueError if the task has a setup for the simulator, TaskNotReady if the start state is not reached.
        """
        if task.setup:
            raise ValueError(f"phone {self.serial}: a task for a real phone has no setup, got {dict(task.setup)!r}")
        task_program.prepare(self, task, stop_apps=self._stop_apps)
        self._screen.wait_until_still(self.timings.still)
        self._size, self._first = None, True

    def outcome(self, task: Task) -> Outcome:
        """Return the outcome by the task's checks; it is unknown without checks."""
        return task_program.outcome(self, task) if task.program.checks else Outcome.UNKNOWN

    def clean_up(self, task: Task) -> None:
        """Run the task's teardown."""
        task_program.clean_up(self, task)

    def progress(self) -> Progress | None:
        """Return None: a real phone does not know its task."""
        return None

    def labels(self) -> dict[str, str]:
        """Return label -> package of the apps whose label the phone reports. Most labels are resources and missing."""
        return reported_labels(self.shell(f"{LABELS} --user {self._current_user()}").stdout)

    def package_of(self, app: str) -> str | None:
        """Return the package that `Open` would open for a name; None if there is none."""
        return self._apps.package_of(app)

    def _stop_apps(self) -> None:
        self._wake()
        set_upright(self)
        self.checked(_HOME)
        stop_used_apps(self, self._current_user())

    def _return_home(self) -> None:
        """Forget cached facts, wake the phone, press Home (a page may forbid screenshots), and take a screenshot."""
        self._size = self._user = None
        self._apps.forget()
        self._wake()
        self.checked(_HOME)
        self._screen.wait_until_still(self.timings.still)
        try:
            self.screenshot()
        except SecurePage as error:
            raise PhoneError(self.serial, "screencap", f"no picture of its home screen, {error.page}") from error

    def _wake(self) -> None:
        wake(self, lambda: self.size)

    def _current_user(self) -> int:
        if self._user is None:
            answer = self.shell("am get-current-user").stdout.strip()  # not before Android 7
            self._user = int(answer) if re.fullmatch(r"\d+", answer, re.ASCII) else 0
        return self._user

    def _act(self, action: Action) -> str:
        if isinstance(action, Click):
            x, y = self._pixels(action.point)
            self.checked(f"input tap {x} {y}")
        elif isinstance(action, LongPress):
            x, y = self._pixels(action.point)
            # Android needs at least half a second for a long press.
            milliseconds = round(1000 * min(max(action.seconds, 0.5), self.timings.longest_press))
            self.checked(f"input swipe {x} {y} {x} {y} {milliseconds}")
        elif isinstance(action, Swipe):
            (x1, y1), (x2, y2) = self._pixels(action.start), self._pixels(action.end)
            self.checked(f"input swipe {x1} {y1} {x2} {y2} {round(1000 * self.timings.swipe)}")
        elif isinstance(action, SystemButton):
            self.checked(f"input keyevent {_BUTTONS[action.button]}")
        elif isinstance(action, Key):
            return self._press(action.text)
        elif isinstance(action, Type):
            return self._text_input.type(action.text)
        elif isinstance(action, Open):
            return self._apps.open(action.app)
        else:
            raise TypeError(f"phone {self.serial}: no such action: {action!r}")
        return ""

    def _pixels(self, point: Point) -> tuple[int, int]:
        moved = point.to(Frame("device", *self.size))
        return moved.x, moved.y

    def _press(self, name: str) -> str:
        key = find_key(name)
        if key is None:
            return f"no key is called {name!r}"
        if is_refused(key):
            return f"{name!r} is not pressed: it would switch the phone off or put it to sleep"
        self.checked(f"input keyevent {key}")
        return ""
