"""Typing on real phones: the input method, its checks, and the keyboard that is selected afterwards."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mobile_r1_jax.agent.actions import Type
from mobile_r1_jax.phones.adb.keyboard import ADB_KEYBOARD
from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.phone import PhoneError
from mobile_r1_jax.phones.providers.simulated import SimulatedPhone
from mobile_r1_jax.phones.settings import INSTANT
from mobile_r1_jax.phones.simulator.android.shell import failed

STOCK = "com.android.inputmethod.latin/.LatinIME"
SELECTED = "settings get secure default_input_method"
ENABLED = "settings get secure enabled_input_methods"
LOOKING = replace(INSTANT, typed=0.01)
FIELD = "  mCurMethodId=x\n  mInputShown=true\n  mServedView=android.widget.EditText{1}\n"


def without_keyboard(line: str) -> str:
    return f"{STOCK}\n"


@pytest.mark.parametrize("text", ["plain", "100%s", "%s%s", "two\nlines", "tab\tand % sign", 'it\'s "quoted" $HOME'])
def test_ascii_text_needs_no_keyboard(scripted, text: str) -> None:
    phone, android = scripted({"ime list": without_keyboard})
    assert phone.perform(Type(text)) == ""
    assert android.android.device.text == text
    assert not android.ran("ime") and not android.ran("am broadcast")


@pytest.mark.parametrize("text", ["你好", "é", "emoji 👍", "mixed 价格 50"])
def test_missing_keyboard_is_reported_to_the_policy_and_is_not_a_failure(scripted, text: str, caplog) -> None:
    phone, android = scripted({"ime list": without_keyboard})
    for _ in range(3):
        assert "types ASCII alone" in phone.perform(Type(text))
    assert len(android.ran("ime list")) == 1 and caplog.text.count("ADBKeyBoard") == 1
    assert android.android.device.typed == []


@pytest.mark.parametrize(
    ("dump", "is_field"),
    [
        (FIELD, True),
        ("  mInputShown=true\n", True),
        ("  mInputShown=false\n  mServedView=android.widget.EditText{1}\n", True),  # with a hardware keyboard
        ("  mInputShown=false\n  mServedView=null\n", False),
        ("  mInputShown=false\n", False),
        ("Can't find service: input_method\n", True),  # the phone does not report it
    ],
)
def test_typing_without_a_field_is_reported(scripted, dump: str, is_field: bool) -> None:
    phone, android = scripted({"dumpsys input_method": dump, "uiautomator": ""}, timings=LOOKING)
    effect = phone.perform(Type("hello"))
    assert effect == ("" if is_field else "no text field has the focus; tap one first")
    assert android.android.device.typed == (["hello"] if is_field else [])


def tree(text: str, more: str = 'password="false"') -> str:
    node = f'<node class="android.widget.EditText" focused="true" {more} text="{text}" />'
    return (
        f'<?xml version=\'1.0\' ?><hierarchy rotation="0"><node focused="false" text="Name">{node}</node></hierarchy>'
    )


@pytest.mark.parametrize(
    ("shown", "effect"),
    [
        (tree("Hello World"), ""),
        (tree("Dear hello, world."), ""),
        (tree("hell"), "the field shows 'hell', not the typed text"),
        (tree(""), "the field shows '', not the typed text"),
        (tree("••••", 'password="true"'), ""),
        ("ERROR: could not get idle state.\n", ""),
        ("<hierarchy", ""),
        ("", ""),
    ],
)
def test_lost_text_is_reported_if_the_phone_shows_the_field(scripted, shown: str, effect: str) -> None:
    phone, _ = scripted({"dumpsys input_method": FIELD, "uiautomator": "", "cat": shown}, timings=LOOKING)
    assert phone.perform(Type("hello world")) == effect


@pytest.mark.parametrize(("length", "arrives"), [(10, False), (200, True)])
def test_time_limit_grows_with_the_text(scripted, length: int, arrives: bool) -> None:
    def slow(line: str) -> None:
        time.sleep(0.5)

    phone, _ = scripted({"input text": slow}, timings=replace(INSTANT, limit=0.3, per_character=0.01))
    if arrives:
        assert phone.perform(Type("x" * length)) == ""
    else:
        with pytest.raises(PhoneError, match=r"no answer within 0\.4 s"):
            phone.perform(Type("x" * length))


def used(phone: AdbPhone) -> tuple[str, list[str]]:
    """Return the selected and the enabled keyboards."""
    return phone.shell(SELECTED).stdout.strip(), phone.shell(ENABLED).stdout.strip().split(":")


def test_users_keyboard_is_saved_before_the_change_and_restored_at_the_release(scripted, tmp_path) -> None:
    kept: list[str] = []

    def looked_at(line: str) -> None:
        kept.append(next(iter(tmp_path.iterdir())).read_text())

    phone, android = scripted({"ime set": looked_at}, state=tmp_path)
    phone.perform(Type("plain"))
    assert not list(tmp_path.iterdir())
    for text in ("é", "ü"):
        assert phone.perform(Type(text)) == ""
    assert used(phone)[0] == ADB_KEYBOARD and json.loads(kept[0])["secure default_input_method"] == STOCK
    phone.release()
    assert used(phone) == (STOCK, [STOCK]) and not list(tmp_path.iterdir())
    phone.release()
    assert len(android.ran("ime set")) == 2


def test_settings_are_saved_in_the_users_state_directory_except_for_simulated_phones(
    scripted, recorded, state_directory: Path
) -> None:
    for phone in (scripted({})[0], recorded[0]):
        phone.perform(Type("é"))
        file = state_directory / "mobile-r1-jax" / f"{phone.serial}.json"
        assert file.exists() == (not isinstance(phone, SimulatedPhone))
        phone.release()
        assert not file.exists()


@pytest.mark.parametrize("call", ["enter", "release", "leave"])
def test_users_keyboard_is_restored_after_a_crash(scripted, tmp_path: Path, call: str) -> None:
    crashed, _ = scripted({}, state=tmp_path)
    crashed.perform(Type("é"))
    again = AdbPhone(crashed.serial, crashed.server, INSTANT, tmp_path)
    getattr(again, call)()
    assert used(again) == (STOCK, [STOCK])


def test_adb_keyboard_selected_by_the_user_stays_selected(scripted, tmp_path: Path) -> None:
    phone, _ = scripted({}, state=tmp_path)
    phone.shell(f"ime enable {ADB_KEYBOARD} && ime set {ADB_KEYBOARD}")
    before = used(phone)
    phone.perform(Type("é"))
    phone.release()
    assert used(phone) == before and before[0] == ADB_KEYBOARD


@pytest.mark.parametrize("content", ["", "not JSON", "[]", '{"secure default_input_method": "com.gone/.Keyboard"}'])
def test_broken_file_of_saved_settings_is_ignored(scripted, tmp_path: Path, content: str) -> None:
    phone, _ = scripted({}, state=tmp_path)
    (tmp_path / f"{phone.serial}.json").write_text(content)
    phone.enter()
    assert phone.perform(Type("é")) == ""
    phone.leave()
    assert used(phone)[0] == STOCK


def test_typing_waits_for_a_newly_installed_keyboard(scripted) -> None:
    tries = iter([failed(f"Unknown input method {ADB_KEYBOARD} cannot be enabled for user #0", 255), None, None])
    phone, android = scripted({"ime enable": lambda line: next(tries)})
    assert phone.perform(Type("é")) == ""
    assert android.android.device.typed == ["é"] and len(android.ran("ime enable")) == 2


def test_typing_waits_until_the_keyboard_is_bound(scripted) -> None:
    bound = iter(["mHaveConnection=false mBoundToMethod=false", "mHaveConnection=true mBoundToMethod=true"])
    phone, _ = scripted({"dumpsys input_method": lambda line: next(bound)})
    assert phone.perform(Type("é")) == ""
    assert next(bound, None) is None


def test_keyboard_that_cannot_be_selected_is_an_infrastructure_failure(scripted) -> None:
    phone, _ = scripted({"ime set": ""})
    with pytest.raises(PhoneError, match="cannot be selected"):
        phone.perform(Type("é"))
