"""Interruptions of a task: dialogs, slow and secure pages, sleep, as changes of the phone's state."""

from collections.abc import Callable
from random import Random

from mobile_r1_jax.phones.simulator import gestures
from mobile_r1_jax.phones.simulator.apps import APPS
from mobile_r1_jax.phones.simulator.state import Popup, State

PERMISSION_WINDOW = (
    "com.android.permissioncontroller/com.android.permissioncontroller.permission.ui.GrantPermissionsActivity"
)

Interruption = Callable[[State, float, Random], None]
"""Changes a state. The duration is a number of screenshots."""


def _dialog(make: Callable[[State, Random], Popup]) -> Interruption:
    def open_dialog(state: State, duration: float, rng: Random) -> None:
        if state.popup is None:
            state.popup = gestures.shuffled(make(state, rng), rng)
            state.popups_shown += 1

    return open_dialog


def _permission(state: State, rng: Random) -> Popup:
    return Popup(f"Allow {APPS[state.app].label}?", "Allow", "Don't allow", window=PERMISSION_WINDOW)


def _not_responding(state: State, rng: Random) -> Popup:
    app = APPS[state.app]
    window = f"Application Not Responding: {app.package}"
    return Popup(f"{app.label} isn't responding", "Close app", "Wait", astray="launcher/home", window=window)


def _load_slowly(state: State, duration: float, rng: Random) -> None:
    state.loading = int(duration)


def _secure(state: State, duration: float, rng: Random) -> None:
    state.secure = state.app != "launcher"  # the home screen can always be captured


def _fall_asleep(state: State, duration: float, rng: Random) -> None:
    state.sleep()
    state.locked = True


INTERRUPTIONS: dict[str, Interruption] = {
    "popup": _dialog(lambda state, rng: rng.choice(gestures.POPUPS)),
    "permission": _dialog(_permission),
    "not_responding": _dialog(_not_responding),
    "slow": _load_slowly,
    "secure": _secure,
    "asleep": _fall_asleep,
}
"""Kind of trouble -> what it does; see `trouble.KINDS`."""
