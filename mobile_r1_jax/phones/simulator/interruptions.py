"""Interruptions of a task: dialogs, slow and secure pages, sleep, as changes of the phone's state."""

from collections.abc import Callable
from random import Random

from mobile_r1_jax.phones.simulator import gestures
from mobile_r1_jax.phones.simulator.apps import APPS
from mobile_r1_jax.phones.simulator.state import Popup, State

Interruption = Callable[[State, float, Random, int], None]
"""Changes a state. The duration is a number of screenshots; the last argument is the Android version."""


def permission_window(version: int) -> str:
    """Return the name of the window in which an Android version asks for a permission."""
    package = "com.android.packageinstaller" if version < 10 else "com.android.permissioncontroller"
    return f"{package}/{package}.permission.ui.GrantPermissionsActivity"


def _dialog(make: Callable[[State, Random, int], Popup]) -> Interruption:
    def open_dialog(state: State, duration: float, rng: Random, version: int) -> None:
        if state.popup is None:
            state.popup = gestures.shuffled(make(state, rng, version), rng)
            state.popups_shown += 1

    return open_dialog


def _permission(state: State, rng: Random, version: int) -> Popup:
    return Popup(f"Allow {APPS[state.app].label}?", "Allow", "Don't allow", window=permission_window(version))


def _not_responding(state: State, rng: Random, version: int) -> Popup:
    app = APPS[state.app]
    window = f"Application Not Responding: {app.package}"
    return Popup(f"{app.label} isn't responding", "Close app", "Wait", astray="launcher/home", window=window)


def _load_slowly(state: State, duration: float, rng: Random, version: int) -> None:
    state.loading = int(duration)


def _secure(state: State, duration: float, rng: Random, version: int) -> None:
    state.secure = state.app != "launcher"  # the home screen can always be captured


def _fall_asleep(state: State, duration: float, rng: Random, version: int) -> None:
    state.sleep()
    state.locked = True


INTERRUPTIONS: dict[str, Interruption] = {
    "popup": _dialog(lambda state, rng, version: rng.choice(gestures.POPUPS)),
    "permission": _dialog(_permission),
    "not_responding": _dialog(_not_responding),
    "slow": _load_slowly,
    "secure": _secure,
    "asleep": _fall_asleep,
}
"""Kind of trouble -> its effect; see `trouble.KINDS`."""
