"""Whether a phone can be used: awake, unlocked, upright and without animations."""

from __future__ import annotations

import time
from collections.abc import Callable

from mobile_r1_jax.phones.adb.saved import SavedSettings
from mobile_r1_jax.phones.adb.shell import AdbShell
from mobile_r1_jax.phones.adb.windows import is_awake, is_locked
from mobile_r1_jax.phones.phone import PhoneError

_TRIES, _PAUSE = 8, 0.25  # seconds, for the lock screen to go
UPRIGHT = {"system accelerometer_rotation": "0", "system user_rotation": "0"}
# While the phone is in a fleet.
FLEET_SETTINGS = UPRIGHT | {
    "global stay_on_while_plugged_in": "7",  # AC, USB and wireless
    "system screen_off_timeout": "1800000",  # milliseconds
    "global window_animation_scale": "0",
    "global transition_animation_scale": "0",
    "global animator_duration_scale": "0",
}


def wake(shell: AdbShell, size: Callable[[], tuple[int, int]]) -> None:
    """Wake and unlock the phone. Raises PhoneError if it stays asleep, or locked as by a PIN.

    size: returns the (width, height) of the screen in device pixels.
    """
    for attempt in range(_TRIES):
        shell.checked("input keyevent KEYCODE_WAKEUP")  # never puts it to sleep
        if not is_awake(shell):
            reason = "it does not wake up; switch its screen on"
        elif not is_locked(shell):
            return
        else:
            reason = "it is locked; unlock it, and set its screen lock to None in its settings"
            shell.shell("wm dismiss-keyguard")  # without a PIN; not before Android 8
            if attempt:
                width, height = size()
                swipe = f"input swipe {width // 2} {height * 4 // 5} {width // 2} {height // 5} 300"
                shell.checked(f"{swipe}; input keyevent KEYCODE_MENU")
        time.sleep(_PAUSE)
    raise PhoneError(shell.serial, "wake", reason)


def prepare(saved: SavedSettings) -> None:
    """Keep the phone awake and upright, and stop its animations, until `saved.restore`."""
    saved.change(FLEET_SETTINGS)


def set_upright(shell: AdbShell) -> None:
    """Close the notification shade and turn the screen upright; an app or uiautomator may have turned it."""
    puts = [f"settings put {name} {value}" for name, value in UPRIGHT.items()]
    shell.shell("; ".join(["cmd statusbar collapse", *puts, "wm user-rotation lock 0"]))  # wm from Android 11 on
