"""Which apps were used on a phone, and stopping them, so that the next task does not start on the last one's page."""

from __future__ import annotations

import re
import shlex

from mobile_r1_jax.phones.adb.shell import AdbShell

_PACKAGE = r"([A-Za-z]\w*(?:\.\w+)+)"
_COMPONENT = re.compile(r"(?:realActivity|mActivityComponent|topActivity|baseActivity|cmp|I)=\{?" + _PACKAGE + "/")
_AFFINITY = re.compile(r"\bA=(?:\d+:)?" + _PACKAGE)
_ACTIVITY = re.compile(r"ActivityRecord\{\S+ u\d+ " + _PACKAGE + "/")
_NEVER_STOPPED = {"android", "com.android.systemui", "com.android.phone", "com.android.shell"}
_HOME = "cmd package resolve-activity --brief -a android.intent.action.MAIN -c android.intent.category.HOME"


def stop_used_apps(shell: AdbShell, user: int) -> None:
    """Stop every app with a task, system apps too, except the launcher, keyboards and the system itself.

    A stopped clock has no alarms until it is started again: check a task before the next reset. Raises PhoneError.
    """
    recents = shell.checked("dumpsys activity recents")
    used = used_packages(recents, shell.checked("dumpsys activity activities"))
    needed = re.findall(_PACKAGE + "/", shell.shell(f"{_HOME}; ime list -s").stdout)
    stopped = [package for package in sorted(used - _NEVER_STOPPED - {*needed}) if "android.providers." not in package]
    if stopped:
        shell.checked("; ".join(f"am force-stop --user {user} {shlex.quote(package)}" for package in stopped))


def used_packages(recents: str, activities: str) -> set[str]:
    """Return the packages in `dumpsys activity recents` and `dumpsys activity activities`, of Android 9 to 16.

    A task counts by its activities. By its affinity, which may be another app's or no package, it counts only if it
    names no activity. Tasks of the launcher and of recents do not count.
    """
    used: set[str] = set()
    for task in re.split(r"\n\s*\* (?=Recent|Task)", recents)[1:]:
        if not re.search(r"type=(?:home|recents)\b", task):
            used |= set(_COMPONENT.findall(task)) or set(_AFFINITY.findall(task))
    for task in re.split(r"\n\s*(?:\* )?(?=Task\{|Stack #|TaskRecord\{)", activities):
        if not re.search(r"type=(?:home|recents)\b", task.partition("\n")[0]):
            used |= set(_ACTIVITY.findall(task))
    return used
