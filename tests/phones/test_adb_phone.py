"""AdbPhone: how it performs actions, and how it handles faulty phones."""

import random
import socket
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from mobile_r1_jax.agent.actions import Click, Key, LongPress, Open, Swipe, SystemButton, Terminate, Type, Wait
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.adb.stream import ServerAddress
from mobile_r1_jax.phones.phone import PhoneError
from mobile_r1_jax.phones.providers.simulated import INSTANT, SimulatedPhone
from mobile_r1_jax.phones.simulator.android.daemon import ListeningPhone
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.tasks.task import Task

SCREEN = Frame("device", 112, 224)


def at(x: int, y: int, frame: Frame = SCREEN) -> Point:
    return Point(x, y, frame)


def test_screenshot_equals_the_image_of_the_device(recorded) -> None:
    phone, device = recorded
    screenshot = phone.screenshot()
    assert screenshot.png == device.screenshot()
    assert phone.size == (screenshot.width, screenshot.height) == (112, 224)


def test_gestures_reach_their_points(recorded) -> None:
    phone, device = recorded
    for action in (Click(at(5, 6)), LongPress(at(7, 8), 0.1), Swipe(at(50, 200), at(50, 20))):
        assert phone.perform(action) == ""
    assert device.gestures == [("tap", 5, 6), ("long_press", 7, 8), ("swipe", 50, 200, 50, 20)]


def test_model_points_are_converted_to_the_frame_of_the_device(recorded) -> None:
    phone, device = recorded
    point = at(28, 28, Frame("model", 56, 56))
    phone.perform(Click(point))
    moved = point.to(SCREEN)
    assert device.gestures == [("tap", moved.x, moved.y)] and moved.y > 100


@pytest.mark.parametrize(
    ("action", "key"),
    [
        (SystemButton("Back"), "BACK"),
        (SystemButton("Home"), "HOME"),
        (SystemButton("Menu"), "MENU"),
        (SystemButton("Enter"), "ENTER"),
        (Key("volume_up"), "VOLUME_UP"),
        (Key("KEYCODE_DEL"), "DEL"),
        (Key("67"), "DEL"),
        (Key(" Wakeup "), "WAKEUP"),  # never puts a phone to sleep
    ],
)
def test_buttons_and_keys_send_their_key_codes(recorded, action: Key | SystemButton, key: str) -> None:
    phone, device = recorded
    assert phone.perform(action) == ""
    assert device.gestures == [("key", key)]


@pytest.mark.parametrize(
    "name", ["", "BACK; reboot", "$(reboot)", "ä", "FOO", "backspace", "KEYCODE_26", "9999", "-1", "HOME BACK", "２６"]
)
def test_unknown_key_is_reported_and_not_sent(recorded, name: str) -> None:
    phone, device = recorded
    assert "no key" in phone.perform(Key(name))
    assert device.gestures == []


@pytest.mark.parametrize(
    "name", ["power", "sleep", "KEYCODE_POWER", "26", "026", " Sleep ", "223", "SOFT_SLEEP", "276", "ENDCALL", "6"]
)
def test_power_and_sleep_keys_are_reported_and_not_sent(
    put_on_wire: Callable[[Device], ListeningPhone], server: ServerAddress, name: str
) -> None:
    listening = put_on_wire(Device(size=(112, 224)))
    assert "switch the phone off" in SimulatedPhone(listening.android.serial, server).perform(Key(name))
    assert listening.android.awake


def test_terminate_and_wait_send_nothing(recorded) -> None:
    phone, device = recorded
    started = time.monotonic()
    assert phone.perform(Terminate("success")) == phone.perform(Wait(3600)) == ""
    assert time.monotonic() - started < 1
    assert device.gestures == device.typed == []


HOSTILE = [
    "plain",
    "two  spaces and a trailing ",
    "; rm -rf /sdcard",
    "$(reboot)",
    "`reboot`",
    "a'b\"c\\d",
    "'; reboot; '",
    "&& reboot || reboot | reboot > /sdcard/x",
    "50%s off, 100%",
    "%s",
    "-d 1",
    "line one\nline two\ttab",
    "价格：¥12；搜索“红色鞋子”",
    "emoji 👍🏽 é ñ",
    "\x00\x07",
    "#comment $HOME $? ~ * {a,b}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_arrives_unchanged_and_is_never_run_by_the_shell(recorded, text: str) -> None:
    phone, device = recorded
    before = phone.shell("ls /sdcard").stdout
    assert phone.perform(Type(text)) == ""
    assert device.text == text
    assert ("key", "HOME") not in device.gestures  # a reboot would have pressed it
    assert phone.shell("ls /sdcard").stdout == before


def test_random_text_arrives_unchanged(recorded) -> None:
    phone, device = recorded
    rng = random.Random(0)
    texts = ["".join(rng.choices("ab %s$`'\"\\;&|<>()#\n~*é中", k=rng.randint(1, 40))) for _ in range(100)]
    for text in texts:
        phone.perform(Type(text))
        assert device.text == text
        device.happened.clear()


def test_shell_runs_hostile_text_without_quoting(recorded) -> None:
    phone, device = recorded
    phone.shell("input text $(input keyevent HOME)")
    assert device.gestures == [("key", "HOME")]


def test_keyboard_changed_by_an_app_is_selected_again(recorded) -> None:
    phone, device = recorded
    phone.perform(Type("é"))
    phone.shell("ime set com.android.inputmethod.latin/.LatinIME")
    phone.perform(Type("ü"))
    assert device.typed == ["é", "ü"]


@pytest.mark.parametrize("text", ["é" * 60_000, "x" * 5_001, "a\n" * 3_000])
def test_too_long_text_is_reported(recorded, text: str) -> None:
    phone, device = recorded
    assert "5000 can be typed" in phone.perform(Type(text))
    assert device.happened == []


@pytest.mark.parametrize("text", ["é" * 5_000, "word " * 1_000, "x" * 5_000, "50%s " * 900])
def test_the_longest_text_arrives_in_order(recorded, text: str) -> None:
    phone, device = recorded
    assert phone.perform(Type(text)) == ""
    assert device.text == text


def test_too_long_command_line_is_a_one_line_error(recorded) -> None:
    phone, _ = recorded
    with pytest.raises(PhoneError, match="65535 at most"):
        phone.shell("echo " + "x" * 65_536)


def test_apps_open_by_their_names_on_the_phone(phone: SimulatedPhone) -> None:
    assert phone.perform(Open(" settings ")) == ""
    assert "com.sim.settings/" in phone.shell("dumpsys window").stdout
    assert "no app" in phone.perform(Open("Nowhere; reboot"))
    assert "nothing to open" in phone.perform(Open("ADB Keyboard"))


def test_reset_of_a_real_phone_goes_home_and_stops_the_used_app(phone: SimulatedPhone, server: ServerAddress) -> None:
    phone.perform(Open("Shop"))
    AdbPhone(phone.serial, server, INSTANT).reset(Task("Shop", "buy shoes"))
    assert "com.sim.launcher/" in phone.shell("dumpsys window").stdout
    with pytest.raises(ValueError, match="no setup"):
        AdbPhone(phone.serial, server, INSTANT).reset(Task("Shop", "buy", {"template": "pay"}))


def test_first_action_of_a_task_waits_longer_and_waits_are_capped(phone: SimulatedPhone, server: ServerAddress) -> None:
    slow = AdbPhone(phone.serial, server, replace(INSTANT, first_settle=0.4, settle=0.1, longest_wait=0.2))

    def seconds(action: Key | Wait) -> float:
        started = time.monotonic()
        slow.perform(action)
        return time.monotonic() - started

    assert 0.4 <= seconds(Key("HOME")) < 0.9
    assert 0.1 <= seconds(Key("HOME")) < 0.4
    assert 0.2 <= seconds(Wait(3600)) < 0.4


def test_simulated_phone_takes_a_task_and_reports_progress(phone: SimulatedPhone) -> None:
    setup = {"template": "pay", "parameters": {}, "seed": 3}
    phone.reset(Task("Shop", "Pay for the cart", setup))
    progress = phone.simulator("progress")
    assert progress["done"] is False and progress["remaining"] > 0
    phone.perform(Open("Shop"))
    assert phone.simulator("progress")["remaining"] < progress["remaining"]
    assert phone.simulator("state")["page"] == "shop/home"


def test_impossible_setup_is_refused_with_the_reason_of_the_phone(phone: SimulatedPhone) -> None:
    with pytest.raises(PhoneError, match="nonsense"):
        phone.reset(Task("Shop", "?", {"template": "nonsense"}))


def _png() -> bytes:
    return Device(size=(112, 224)).screenshot()


@pytest.mark.parametrize(
    "picture",
    [
        _png()[:8],
        _png()[:-1],
        _png()[: len(_png()) // 2],
        _png()[:100] + b"\x00" * 4 + _png()[104:],
        _png().replace(b"\n", b"\r\n"),
    ],
    ids=["signature", "cut by one", "half", "corrupt", "newlines changed"],
)
def test_incomplete_screenshot_is_an_error_and_never_black(recorded, picture: bytes) -> None:
    phone, device = recorded
    device.pictures = [picture]
    with pytest.raises(PhoneError, match="screenshot") as caught:
        phone.screenshot()
    assert phone.serial in str(caught.value) and "\n" not in str(caught.value)
    assert phone.screenshot().width == 112  # the next one is good


def test_warning_before_the_image_is_ignored(recorded) -> None:
    phone, device = recorded
    device.pictures = [b"[Warning] Multiple displays were found\n" + _png()]
    assert phone.screenshot().png == _png()


def test_truncated_image_is_detected_at_every_length(recorded) -> None:
    phone, device = recorded
    png = _png()
    for end in range(8, len(png), 101):
        device.pictures = [png[:end]]
        with pytest.raises(PhoneError):
            phone.screenshot()


def test_failing_handler_ends_its_stream_and_the_phone_stays_usable(recorded, caplog) -> None:
    phone, device = recorded
    device.failures = [RuntimeError("the tap broke")]
    started = time.monotonic()
    with pytest.raises(PhoneError, match="hung up"):
        phone.perform(Click(at(1, 1)))
    assert time.monotonic() - started < 2
    assert "the tap broke" in caplog.text
    assert phone.perform(Click(at(2, 2))) == ""


def test_client_of_another_protocol_is_disconnected_without_effect_on_others(
    put_on_wire: Callable[[Device], ListeningPhone], server: ServerAddress, caplog
) -> None:
    listening = put_on_wire(Device(size=(112, 224)))
    with socket.create_connection(("127.0.0.1", listening.port), timeout=5) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: phone\r\n\r\n")
        assert stranger.recv(100) in (b"",)
    assert "bad adb header" in caplog.text
    assert SimulatedPhone(listening.android.serial, server).screenshot().width == 112


def test_missing_server_is_an_immediate_error_and_none_is_started() -> None:
    address = ServerAddress(port=9)  # the discard port: no server listens there
    started = time.monotonic()
    with pytest.raises(PhoneError) as caught:
        AdbPhone("emulator-1", address).screenshot()
    assert time.monotonic() - started < 2
    assert not caught.value.delivered


def test_phone_unknown_to_the_server_is_an_error(server: ServerAddress) -> None:
    with pytest.raises(PhoneError, match="not found") as caught:
        AdbPhone("nobody", server).size  # noqa: B018
    assert not caught.value.delivered
