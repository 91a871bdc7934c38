"""What is in front on a phone: the focused window, sleep, lock and text fields, from the texts of Android 9 to 16."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mobile_r1_jax.phones.adb.shell import AdbShell

_FOCUS = re.compile(r"mCurrentFocus=Window\{\S+ u\d+ ([^}\n]+)\}")
_APP = re.compile(r"([\w.]+)/[\w.$]+")
_HOME = "cmd package resolve-activity --brief -a android.intent.action.MAIN -c android.intent.category.HOME"
_LOCKED = re.compile(r"isKeyguardShowing=true|mShowingLockscreen=true|isStatusBarKeyguard=true")


@dataclass(frozen=True)
class Window:
    """The focused window; `title`: its name, such as "com.acme.notes/com.acme.notes.Main" or "NotificationShade"."""

    title: str

    @property
    def package(self) -> str:
        """Return the package of an activity's window; "" for other windows, such as dialogs of the system."""
        match = _APP.fullmatch(self.title)
        return match[1] if match else ""


def focused_window(shell: AdbShell) -> Window | None:
    """Return the focused window; None while no window has the focus, as during a change of windows or of a boot."""
    for part in ("displays", "windows"):  # Android 10 and later; 9
        dump = shell.shell(f"dumpsys window {part}").stdout
        if match := _FOCUS.search(dump):
            return Window(match[1].strip())
        if "mCurrentFocus=" in dump:
            break
    return None


def home_package(shell: AdbShell) -> str:
    """Return the package of the launcher; "android" for several without a default one, "" if the phone has none."""
    words = shell.shell(_HOME).stdout.split()[-1:]
    return words[0].split("/")[0] if words and "/" in words[0] else ""


def is_awake(shell: AdbShell) -> bool:
    """Return whether the phone is awake; True if the phone does not report it."""
    match = re.search(r"mWakefulness=(\w+)|getWakefulnessLocked\(\)=(\w+)", shell.shell("dumpsys power").stdout)
    return match is None or (match[1] or match[2]) == "Awake"


def is_locked(shell: AdbShell) -> bool:
    """Return whether the lock screen is shown; False if the phone does not report it."""
    dump = shell.shell("dumpsys window").stdout
    monitor = re.search(r"mIsShowing=(\w+)[\s\S]{0,400}?mInputRestricted=(\w+)", dump)
    return bool(_LOCKED.search(dump)) or (monitor is not None and monitor[1] == monitor[2] == "true")


def has_text_field(shell: AdbShell) -> bool:
    """Return whether a text field has the focus; True if the phone does not report it."""
    dump = shell.shell("dumpsys input_method").stdout
    if "mInputShown=true" in dump or re.search(r"mServedView=(?!null)\S", dump):
        return True
    return "mInputShown=" not in dump and "mServedView=" not in dump
