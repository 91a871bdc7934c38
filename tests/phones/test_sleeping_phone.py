"""A sleeping phone is black and accepts only keys that wake it; a locked phone must be unlocked first."""

import io
from random import Random

import pytest
from PIL import Image

from mobile_r1_jax.phones.simulator.android.commands import COMMANDS
from mobile_r1_jax.phones.simulator.android.shell import run
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.phones.simulator.oracle import apply_move, next_move
from mobile_r1_jax.phones.simulator.tasks import draw_tasks, place


@pytest.fixture
def android() -> Android:
    return Android(Device(seed=1), "emulator-1", COMMANDS)


def do(android: Android, line: str) -> bytes:
    result = run(android, line)
    assert result.status == 0, result
    return result.output(1)


def colours(android: Android) -> set[tuple[int, int, int]]:
    return {colour for _, colour in Image.open(io.BytesIO(do(android, "screencap -p"))).getcolors(1 << 20)}


@pytest.mark.parametrize("key", ["26", "223", "POWER", "KEYCODE_SLEEP"])
def test_sleeping_phone_is_black_and_unchanged_after_waking(android: Android, key: str) -> None:
    do(android, "am start -n com.sim.settings/.HomeActivity")
    before = do(android, "screencap -p")
    do(android, f"input keyevent {key}")
    assert colours(android) == {(0, 0, 0)} and not android.device.state()["awake"]
    do(android, "input keyevent 224")
    assert do(android, "screencap -p") == before


@pytest.mark.parametrize(
    "line",
    [
        "input tap 56 42",
        "input swipe 56 42 56 42 800",
        "input swipe 56 168 56 40",
        "input text hello",
        "input keyevent 3",
        "input keyevent BACK",
        "input keyevent VOLUME_UP",
        "input keyevent SLEEP",
    ],
)
@pytest.mark.parametrize("app", ["settings", "shop"])
def test_sleeping_phone_ignores_input(android: Android, app: str, line: str) -> None:
    do(android, f"am start -n com.sim.{app}/.HomeActivity; input keyevent SLEEP")
    before = android.device.state()
    do(android, line)
    assert android.device.state() == before and colours(android) == {(0, 0, 0)}


@pytest.mark.parametrize("waking", ["WAKEUP", "POWER", "82"])
def test_app_opened_during_sleep_is_shown_after_waking(android: Android, waking: str) -> None:
    do(android, "input keyevent 223; am start -n com.android.deskclock/.HomeActivity")
    assert android.device.focus[0] == "com.sim.launcher" and colours(android) == {(0, 0, 0)}
    do(android, f"input keyevent {waking}")
    assert android.device.focus[0] == "com.android.deskclock" and len(colours(android)) > 9
    do(android, "input keyevent 26 3 26")
    assert android.device.focus[0] == "com.android.deskclock"


@pytest.mark.parametrize("opening", ["input swipe 56 180 56 40", "input keyevent MENU", "wm dismiss-keyguard"])
def test_lock_screen_covers_everything_until_it_is_unlocked(android: Android, opening: str) -> None:
    do(android, "locksettings set-disabled false; am start -n com.sim.shop/.HomeActivity; input keyevent 26 26")
    assert android.device.awake and android.device.locked and len(colours(android)) > 1
    before = android.device.state()
    do(android, "input tap 56 42; input text x; input keyevent 3 4; input swipe 56 40 56 180")
    assert android.device.state() == before
    do(android, "am start -n com.android.deskclock/.HomeActivity")
    assert android.device.focus[0] == "com.sim.shop"
    do(android, opening)
    assert not android.device.locked and android.device.focus[0] == "com.android.deskclock"


def test_without_a_lock_screen_the_phone_never_locks(android: Android) -> None:
    assert do(android, "locksettings get-disabled") == b"true\n"
    do(android, "input keyevent 26 26")
    assert android.device.awake and not android.device.locked


def test_reboot_and_reset_wake_the_phone(android: Android) -> None:
    do(android, "am start -n com.android.deskclock/.HomeActivity; input keyevent 223; reboot")
    assert android.device.awake and android.device.focus[0] == "com.sim.launcher"
    do(android, "input keyevent 223")
    android.device.reset({"template": "open_app", "parameters": {"app": "Shop"}, "seed": 0})
    assert android.device.awake


@pytest.mark.parametrize("locked", [False, True])
def test_the_oracle_wakes_and_unlocks_the_phone(locked: bool) -> None:
    for task in draw_tasks(8, seed=1, apps=("settings", "shop", "messages", "clock"), held_out=False, popups=1.0):
        placed, rng = place(dict(task.setup)), Random(task.instruction)
        placed.state.lock_screen = locked
        for _ in range(60):
            if rng.random() < 0.2:
                placed.state.sleep()
            if (move := next_move(placed.state, placed.goals)).kind == "finish":
                break
            apply_move(placed.state, move)
        assert placed.progress()["done"]
