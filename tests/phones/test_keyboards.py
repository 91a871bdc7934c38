"""The command ime behaves like Android."""

import pytest

from mobile_r1_jax.phones.simulator.android.commands import COMMANDS
from mobile_r1_jax.phones.simulator.android.shell import run
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.device import Device

ADB = "com.android.adbkeyboard/.AdbIME"
STOCK = "com.android.inputmethod.latin/.LatinIME"


@pytest.fixture
def android() -> Android:
    return Android(Device(), "emulator-1", COMMANDS)


def answer_of(android: Android, line: str) -> tuple[str, str, int]:
    result = run(android, line)
    return result.output(1).decode(), result.output(2).decode(), result.status


def selected(android: Android) -> str:
    return answer_of(android, "settings get secure default_input_method")[0].strip()


def test_list_prints_ids_or_the_long_form(android: Android) -> None:
    assert answer_of(android, "ime list -s") == (f"{STOCK}\n", "", 0)
    assert answer_of(android, "ime list -a -s") == (f"{ADB}\n{STOCK}\n", "", 0)
    long, _, _ = answer_of(android, "ime list -a")
    assert long.startswith(f"{ADB}:\n  mId={ADB} mSettingsActivityName=") and f"\n{STOCK}:\n  mId={STOCK} " in long
    assert ADB not in answer_of(android, "ime list")[0]


def test_enable_set_and_disable_print_the_change(android: Android) -> None:
    assert answer_of(android, f"ime enable {ADB}") == (f"Input method {ADB}: now enabled for user #0\n", "", 0)
    assert answer_of(android, f"ime enable {ADB}") == (f"Input method {ADB}: already enabled for user #0\n", "", 0)
    assert answer_of(android, "settings get secure enabled_input_methods")[0] == f"{STOCK}:{ADB}\n"
    assert answer_of(android, f"ime set {ADB}") == (f"Input method {ADB} selected for user #0\n", "", 0)
    assert selected(android) == ADB
    assert answer_of(android, f"ime disable {ADB}") == (f"Input method {ADB}: now disabled for user #0\n", "", 0)
    assert selected(android) == STOCK and answer_of(android, "ime list -s")[0] == f"{STOCK}\n"
    assert answer_of(android, f"ime disable {ADB}") == (f"Input method {ADB}: already disabled for user #0\n", "", 0)


@pytest.mark.parametrize("name", ["com.nosuch/.Ime", "x", ADB])
def test_unknown_or_disabled_keyboard_cannot_be_selected(android: Android, name: str) -> None:
    reason = f"Unknown input method {name} cannot be selected for user #0\n"
    assert answer_of(android, f"ime set {name}") == ("", reason, 255) and selected(android) == STOCK


@pytest.mark.parametrize("name", ["com.nosuch/.Ime", "x", "com.android.adbkeyboard"])
def test_an_unknown_keyboard_cannot_be_enabled(android: Android, name: str) -> None:
    reason = f"Unknown input method {name} cannot be enabled for user #0\n"
    assert answer_of(android, f"ime enable {name}") == ("", reason, 255)


def test_reset_selects_and_enables_the_stock_keyboard_only(android: Android) -> None:
    run(android, f"ime enable {ADB}; ime set {ADB}")
    printed, _, status = answer_of(android, "ime reset")
    assert status == 0 and printed.splitlines() == [
        "Reset current and enabled IMEs for user #0",
        f"  Selected: {STOCK}",
        f"   Enabled: {STOCK}",
    ]
    assert selected(android) == STOCK and answer_of(android, "ime list -s")[0] == f"{STOCK}\n"


@pytest.mark.parametrize("line", ["ime", "ime nosuch", "ime set", "ime enable a b"])
def test_other_subcommands_are_unknown(android: Android, line: str) -> None:
    out, _, status = answer_of(android, line)
    assert status == 255 and out.startswith("Unknown command: ")


@pytest.mark.parametrize("line", ["enable com.nosuch/.Ime", "set com.nosuch/.Ime", "enable x", "set x"])
def test_android_9_raises_for_an_unknown_keyboard_and_has_one_user(line: str) -> None:
    android = Android(Device(), "emulator-1", COMMANDS, 9)
    out, reason, status = answer_of(android, f"ime {line}")
    assert (out, status) == ("", 255) and reason.startswith(
        f"\nException occurred while executing:\njava.lang.IllegalArgumentException: Unknown id: {line.split()[1]}\n"
    )
    assert answer_of(android, f"ime set {ADB}") == (f"Input method {ADB} selected\n", "", 0)  # without ime enable
    assert answer_of(android, f"ime enable {ADB}") == (f"Input method {ADB}: now enabled\n", "", 0)
    assert answer_of(android, f"ime disable {ADB}") == (f"Input method {ADB}: now disabled\n", "", 0)
    reset = f"Reset current and enabled IMEs\nNewly selected IME:\n  {STOCK}\nNewly enabled IMEs:\n  {STOCK}\n"
    assert answer_of(android, "ime reset") == (reset, "", 0)
