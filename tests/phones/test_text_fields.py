"""Text fields of the simulated phone: cursor, keys, selection, and the ADB keyboard's broadcasts."""

import base64

import pytest

from mobile_r1_jax.phones.providers.simulated import SimulatedPhone
from mobile_r1_jax.phones.simulator.android.commands import COMMANDS
from mobile_r1_jax.phones.simulator.android.shell import Result, run
from mobile_r1_jax.phones.simulator.android.system import SDK, Android
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.phones.simulator.gestures import focused_field
from mobile_r1_jax.phones.simulator.text_field import CHARACTERS, TextField

ADB_KEYBOARD = "com.android.adbkeyboard/.AdbIME"
NULL = "java.lang.NullPointerException: Attempt to get length of null array"


def phone(page: str = "messages/chat/Anna", version: int = 14) -> Android:
    """Return a phone that shows a page, by default one with a text field."""
    android = Android(Device(), "emulator-1", COMMANDS, version)
    android.device._state.push(page)
    return android


def do(android: Android, *lines: str) -> None:
    for line in lines:
        assert run(android, line) == Result(), line


def typed(*lines: str, page: str = "messages/chat/Anna") -> str:
    """Return the text of the field after some commands."""
    android = phone(page)
    do(android, *lines)
    return android.device.state()["text"]


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["input text hel", "input text lo"], "hello"),
        (["input text a", "input text b", "input text c"], "abc"),
        (["input text lo", "input keyevent 122", "input text hel"], "hello"),
        (["input text hllo", "input keyevent MOVE_HOME DPAD_RIGHT", "input text e"], "hello"),
        (["input text heo", "input keyevent 21", "input text ll"], "hello"),
        (["input text ab", "input keyevent 21 21 21 22", "input text -"], "a-b"),
        (["input text ab", "input keyevent 122 123", "input text -"], "ab-"),
        (["input text two%swords%s"], "two words "),
        (["input text 50%%soff,100%"], "50% off,100%"),
        (["input text hello", "input keyevent 67"], "hell"),
        (["input text hello", "input keyevent KEYCODE_DEL KEYCODE_DEL"], "hel"),
        (["input text hello", "input keyevent --longpress DEL"], "hell"),
        (["input text hello", "input keyevent 122 112 112"], "llo"),
        (["input text hello", "input keyevent 122 67"], "hello"),
        (["input text hello", "input keyevent FORWARD_DEL"], "hello"),
        (["input text hello", "input keyevent MOVE_END" + " 67" * 20], ""),
        (["input text hello", "input keycombination 113 29"], "hello"),
        (["input text hello", "input keycombination 113 29", "input keyevent 67"], ""),
        (["input text hello", "input keycombination CTRL_LEFT A", "input text bye"], "bye"),
        (["input text hello", "input keycombination -t 50 KEYCODE_CTRL_RIGHT KEYCODE_A", "input keyevent 112"], ""),
        (["input text hello", "input keycombination 113 29", "input keyevent 21", "input text -"], "-hello"),
        (["input text hello", "input keycombination 113 29", "input keyevent DPAD_RIGHT", "input text -"], "hello-"),
        (["input text hello", "input keycombination 59 122", "input keyevent DEL"], ""),
        (["input text hello", "input keycombination 59 21", "input text p"], "hellp"),
        (["input text hello", "input keycombination 113 29", "input keyevent COPY 123 PASTE"], "hellohello"),
        (["input text ab", "input keycombination 113 29", "input keycombination 113 52", "input keyevent 279 279"],
         "abab"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("page", ["messages/chat/Anna", "clock/new", "shop/search"])
def test_text_is_inserted_at_the_cursor_and_edited_by_keys(page: str, lines: list[str], text: str) -> None:
    assert typed(*lines, page=page) == text


def test_pieces_of_text_typed_over_adb_are_joined(phones: tuple[SimulatedPhone, ...]) -> None:
    over_adb = phones[1]
    over_adb.shell("am start -n com.sim.messages/.HomeActivity; input tap 56 42; input text hel; input text lo")
    assert over_adb.simulator("state")["text"] == "hello"
    failure = over_adb.shell("input text 你好")
    assert failure.status == 255 and NULL in failure.stderr


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("29 30 54", "abz"),
        ("7 8 16", "019"),
        ("KEYCODE_7 KEYCODE_0 KEYCODE_Q", "70q"),
        ("A B C SPACE D", "abc d"),
        ("55 56 62 69 70 71 72 73 74 75 76 77 81 17 18 68", ",. -=[]\\;'/@+*#`"),
        ("NUMPAD_4 146 NUMPAD_ADD NUMPAD_DOT 162 163", "42+.()"),
        ("COMMA PERIOD AT APOSTROPHE", ",.@'"),
        ("back KEYCODE_NOSUCH 0 99999 CAMERA TAB SHIFT_LEFT SHIFT_LEFT+A", ""),
    ],
)
def test_letters_digits_and_punctuation_have_keys_by_name_and_by_number(keys: str, text: str) -> None:
    assert typed(f"input keyevent {keys}") == text


@pytest.mark.parametrize(
    ("combinations", "text"),
    [("59 29", "A"), ("SHIFT_RIGHT 8", "!"), ("59 KEYCODE_9", "("), ("KEYCODE_SHIFT_LEFT SLASH", "?"), ("113 42", "")],
)
def test_shift_gives_capitals_and_symbols_and_other_modifiers_give_nothing(combinations: str, text: str) -> None:
    assert typed(f"input keycombination {combinations}") == text


def test_every_printable_character_of_ascii_can_be_typed_by_keys() -> None:
    assert {character for pair in CHARACTERS.values() for character in pair} == {chr(code) for code in range(32, 127)}


def test_a_tap_into_the_field_puts_the_cursor_at_its_end() -> None:
    android = phone()
    do(android, "input text hello", "input keycombination 113 29", "input tap 56 182", "input text -")
    assert android.device.state()["text"] == "hello-"


@pytest.mark.parametrize("enter", ["input keyevent 66", "input keyevent ENTER", "input keyevent NUMPAD_ENTER"])
def test_enter_sends_the_message_and_clears_its_field(enter: str) -> None:
    android = phone()
    do(android, "input text hel", "input text lo", enter, "input text again")
    state = android.device.state()
    assert state["messages"]["sent"] == {"Anna": ["hello"]} and state["text"] == "again"


def test_a_newline_in_input_text_is_the_enter_key() -> None:
    android = phone()
    do(android, "input text 'one\ntwo'")
    assert android.device.state()["messages"]["sent"] == {"Anna": ["one"]} and android.device.state()["text"] == "two"


def test_search_text_is_edited_on_the_page_of_results() -> None:
    android = phone("shop/search")
    do(android, "input text Lmp", "input keyevent 122 22", "input text a")
    assert android.device.state()["page"] == "shop/results/Lamp"
    do(android, "input keycombination 113 29", "input text Book")
    assert android.device.state()["page"] == "shop/results/Book"
    do(android, "input keycombination 113 29", "input keyevent 67")
    assert android.device.state()["page"] == "shop/search" and android.device.state()["text"] == ""
    do(android, "input text Tea", "input keyevent BACK")
    assert android.device.state()["page"] == "shop/search"


@pytest.mark.parametrize("page", ["launcher/home", "shop/home", "settings/home", "messages/home", "clock/home"])
def test_without_a_focused_field_typing_does_nothing(page: str) -> None:
    android = phone(page)
    run(android, f"ime enable {ADB_KEYBOARD}; ime set {ADB_KEYBOARD}")
    before = android.device.state()
    do(android, "input text hello", "input keyevent A 67 66", "input keycombination 113 29")
    run(android, "am broadcast -a ADB_INPUT_TEXT --es msg hello; am broadcast -a ADB_CLEAR_TEXT")
    assert android.device.state() == before and focused_field(android.device._state) is None


BASE64 = base64.b64encode("é 👍🏽\n".encode()).decode()
BROADCASTS = [
    ("ADB_INPUT_TEXT --es msg 你好", "a你好"),
    ("ADB_INPUT_TEXT --es msg 'two words' -p com.android.adbkeyboard", "atwo words"),
    (f"ADB_INPUT_B64 --es msg {BASE64}", "aé 👍🏽\n"),
    ("ADB_INPUT_B64 --es msg no-base64", "a"),
    ("ADB_INPUT_CHARS --eia chars 20320,22909,33", "a你好!"),
    ("ADB_INPUT_CHARS --eia chars 128512", "a😀"),
    ("ADB_INPUT_CHARS --eia chars 55357,56832,55357", "a😀\ufffd"),
    ("ADB_INPUT_CHARS --eia chars 33,x", "a"),
    ("ADB_INPUT_CHARS", "a"),
    ("ADB_INPUT_CODE --ei code 67", ""),
    ("ADB_INPUT_CODE --ei code 30", "ab"),
    ("ADB_INPUT_CODE --ei code x", "a"),
    ("ADB_CLEAR_TEXT", ""),
    ("ADB_CLEAR_TEXT -p com.other.app", "a"),
    ("ADB_EDITOR_CODE --ei code 5", "a"),
    ("ADB_NOSUCH", "a"),
]


@pytest.mark.parametrize(("broadcast", "text"), BROADCASTS)
def test_selected_adb_keyboard_edits_at_the_cursor(broadcast: str, text: str) -> None:
    android = phone()
    do(android, "input text a")
    assert b"Broadcast completed: result=0" in run(android, f"am broadcast -a {broadcast}").output(1)
    assert android.device.state()["text"] == "a"
    run(android, f"ime enable {ADB_KEYBOARD}; ime set {ADB_KEYBOARD}; am broadcast -a {broadcast}")
    assert android.device.state()["text"] == text
    assert not android.device.state()["messages"]["sent"]


@pytest.mark.parametrize(
    "action",
    ["ADB_EDITOR_CODE --ei code 4", "ADB_EDITOR_CODE --ei code 6", "ADB_ACTION_SEND", "ADB_INPUT_CODE --ei code 66"],
)
def test_the_adb_keyboard_sends_by_an_editor_action(action: str) -> None:
    android = phone()
    run(android, f"ime enable {ADB_KEYBOARD}; ime set {ADB_KEYBOARD}; input text hi; am broadcast -a {action}")
    assert android.device.state()["messages"]["sent"] == {"Anna": ["hi"]}


@pytest.mark.parametrize("version", SDK)
@pytest.mark.parametrize("text", ["你好", "é", "ok👍", "a\x07b", "''"])
def test_input_text_fails_like_android_for_text_that_it_cannot_type(version: int, text: str) -> None:
    android = phone(version=version)
    result = run(android, f"input text {text}")
    reason = result.output(2).decode()
    assert NULL in reason and android.device.state()["text"] == ""
    assert result.status == (255 if version > 10 else 137)
    assert reason.startswith("\nException occurred while executing 'text':\n") == (version > 10)


@pytest.mark.parametrize(
    ("line", "new", "old"),
    [
        ("input roll 1", (255, "", 'Exception: Argument expected after "1"'), "for command: roll"),
        ("input trackball roll a b", (255, "", "Invalid arguments for command: roll"), "for command: roll"),
        ("input roll 1 -2; input press", (0, "", ""), ""),
        ("input nosuch", (0, "Unknown command: nosuch\n", ""), "Error: Unknown command: nosuch"),
        ("input tap 1", (255, "", 'Exception: Argument expected after "1"'), "for command: tap"),
        ("input tap a b", (255, "", "Exception: Error: Invalid arguments for command: tap"), "for command: tap"),
        ("input swipe 1 2 3", (255, "", 'Argument expected after "3"'), "arguments for command: swipe"),
        ("input text", (255, "", 'Argument expected after "text"'), "arguments for command: text"),
        ("input keyevent", (255, "", 'Argument expected after "keyevent"'), "arguments for command: keyevent"),
        ("input keycombination 113", (255, "", "arguments for command: keycombination"), "Unknown command: keycomb"),
    ],
)  # fmt: skip
def test_wrong_input_commands_fail_like_their_version(line: str, new: tuple[int, str, str], old: str) -> None:
    status, out, err = new
    for version in (11, 14, 16) if "keycombination" not in line else (12, 16):
        result = run(phone(version=version), line)
        assert (result.status, result.output(1).decode()) == (status, out) and err in result.output(2).decode()
    result = run(phone(version=9), line)
    assert (result.status, result.output(1)) == (0, b"") and old in result.output(2).decode()


def test_cursor_of_a_field_stays_inside_the_text() -> None:
    field = TextField.at_end("ab")
    assert field.move(-5).cursor == 0 and field.move(9).cursor == 2
    assert field.delete(1) == field and field.move(0).delete(-1) == field.move(0)
    assert field.select_all().selected == "ab" and field.press("NOSUCH") is field
