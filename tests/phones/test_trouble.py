"""Simulated trouble: its settings, its start, and what adb and the screen show for each kind."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.phones.adb.server import AdbServer
from mobile_r1_jax.phones.adb.stream import ServerAddress, states
from mobile_r1_jax.phones.phone import PhoneError
from mobile_r1_jax.phones.providers.simulated import SimulatedPhone, connect
from mobile_r1_jax.phones.settings import INSTANT
from mobile_r1_jax.phones.simulator.android.daemon import ListeningPhone
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.phones.simulator.interruptions import permission_window
from mobile_r1_jax.phones.simulator.screen import one_colour
from mobile_r1_jax.phones.simulator.trouble import KINDS, Event, Schedule, Trouble, read_trouble

SIZE = (112, 224)
SILENT = ("offline", "unauthorized", "vanished", "frozen")  # kinds of trouble in which the phone does not answer
QUICK = replace(INSTANT, limit=0.5)  # for these; a phone that answers on a busy machine may take longer
Troubled = Callable[..., tuple[SimulatedPhone, Device]]
PutOnWire = Callable[[Device], ListeningPhone]


@pytest.fixture
def troubled(put_on_wire: PutOnWire, server: ServerAddress) -> Troubled:
    """Return a phone, in an app, whose next request causes one kind of trouble, and its device."""

    def make(kind: str, version: int = 14, **fields: object) -> tuple[SimulatedPhone, Device]:
        device = Device(SIZE)
        android = put_on_wire(device).android
        android.version = version
        phone = SimulatedPhone(android.serial, server, QUICK if kind in SILENT else INSTANT)
        phone.shell("am start -n com.sim.shop/.HomeActivity")
        phone.simulator("trouble", {"script": [{"kind": kind, **fields}]})
        return phone, device

    return make


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "[1]: No such file"),
        ("/nowhere/trouble.json", "/nowhere/trouble.json: No such file"),
        ('{"rate": {}}', "no field 'rate'; choose from rates, durations, script, seed, adb_server"),
        ('{"rates": {"ofline": 0.1}}', "rates: there is no kind 'ofline'; choose from popup"),
        ('{"rates": {"popup": 1.5}}', "rates.popup: must be a number from 0 to 1, is 1.5"),
        ('{"rates": {"popup": true}}', "rates.popup: must be a number from 0 to 1, is True"),
        ('{"rates": [0.5]}', "rates: must be an object"),
        ('{"durations": {"slow": -1}}', "durations.slow: must be a number from 0 to inf, is -1"),
        ('{"durations": {"slow": NaN}}', "durations.slow: must be a number from 0 to inf, is nan"),
        ('{"script": {"kind": "popup"}}', "script: must be a list"),
        ('{"script": [{"kind": "popup"}, {"after": 1}]}', "script[1]: kind is missing"),
        ('{"script": [{"kind": "popup", "after": 0.5}]}', "script[0]: after: must be a whole number from 0, is 0.5"),
        ('{"script": [{"kind": "popup", "of": "commands"}]}', "script[0]: of: popup begins at a screenshot"),
        ('{"script": [{"kind": "frozen", "of": "turns"}]}', "script[0]: of: must be screenshots or commands"),
        ('{"script": [{"kind": "frozen", "duration": "1"}]}', "script[0]: duration: must be a number from 0, is '1'"),
        ('{"seed": 1.5}', "seed: must be a whole number, is 1.5"),
        ('{"rates": {"server_killed": 0.1}}', "adb_server: server_killed needs the address"),
        ('{"adb_server": "localhost"}', "adb_server: must be HOST:PORT, is 'localhost'"),
        ('{"adb_server": 5037}', "adb_server: must be HOST:PORT, is 5037"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_trouble(text)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_settings_are_read_from_text_and_from_a_file(tmp_path: Path) -> None:
    text = '{"rates": {"popup": 0.1}, "script": [{"kind": "frozen", "after": 3, "duration": 2}], "seed": 4}'
    (tmp_path / "trouble.json").write_text(text)
    chosen = Trouble({"popup": 0.1}, script=(Event("frozen", 3, duration=2),), seed=4)
    assert read_trouble(text) == read_trouble(str(tmp_path / "trouble.json")) == chosen


def test_script_counts_screenshots_or_commands() -> None:
    script = (Event("popup", 2), Event("frozen", 2), Event("latency", 3, "commands"), Event("black", 0))
    schedule = Schedule(Trouble(script=script))
    asked = (True, False, True, False, True, True)
    begun = [[event.kind for event in schedule.next(screenshot=screenshot)] for screenshot in asked]
    assert begun == [["black"], [], [], ["latency"], ["popup", "frozen"], []]
    assert schedule.begun == {"popup": 1, "frozen": 1, "latency": 1, "black": 1}


def test_rates_are_probabilities_and_a_seed_repeats_the_draws() -> None:
    def begun(seed: int) -> list[list[str]]:
        schedule = Schedule(Trouble({"popup": 0.2, "offline": 0.1}, seed=seed))
        return [[event.kind for event in schedule.next(screenshot=turn % 2 == 0)] for turn in range(2000)]

    first = begun(1)
    assert first == begun(1) != begun(2)
    assert 150 < sum("popup" in kinds for kinds in first) < 250  # of 1,000 screenshots
    assert 150 < sum("offline" in kinds for kinds in first) < 250  # of 2,000 requests
    assert not any("popup" in kinds for kinds in first[1::2])


@pytest.mark.parametrize(
    ("kind", "listed", "reason"),
    [
        ("offline", "offline", "offline|closed|still connecting"),
        ("unauthorized", "unauthorized", "unauthorized|closed"),
        ("vanished", None, "not found|closed"),
        ("frozen", "device", "no answer within"),
    ],
)
def test_adb_shows_the_trouble_and_the_phone_recovers(
    troubled: Troubled, server: ServerAddress, kind: str, listed: str | None, reason: str
) -> None:
    phone, _ = troubled(kind, duration=1.5)
    with pytest.raises(PhoneError, match=reason):
        phone.screenshot()
    if kind in ("offline", "unauthorized"):
        with pytest.raises(PhoneError):
            phone.reconnect()
    else:
        time.sleep(0.3)
    assert states(server, 1).get(phone.serial) == listed
    if kind == "frozen":
        with pytest.raises(PhoneError, match="no answer within"):
            phone.shell("true")
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            phone.reconnect()
            break
        except PhoneError:
            time.sleep(0.05)
    assert phone.screenshot().width == SIZE[0]
    assert phone.simulator("trouble") == {kind: 1}


def test_disconnect_cuts_the_output_of_a_command_that_took_effect(troubled: Troubled) -> None:
    phone, device = troubled("disconnect", of="commands")
    with pytest.raises(PhoneError, match="hung up"):
        phone.checked("input keyevent HOME; echo done")
    assert device.state()["page"] == "launcher/home"
    phone.reconnect()
    assert phone.shell("echo done").stdout == "done\n"


def test_delayed_output_is_complete(troubled: Troubled) -> None:
    phone, _ = troubled("latency", of="commands", duration=0.2)
    started = time.monotonic()
    assert phone.shell("echo here").stdout == "here\n"
    assert time.monotonic() - started > 0.2
    started = time.monotonic()
    assert phone.shell("echo here").stdout == "here\n"
    assert time.monotonic() - started < 0.2


def test_truncated_image_is_refused_and_the_next_one_is_complete(troubled: Troubled) -> None:
    phone, _ = troubled("truncated", duration=2)
    for _ in range(2):
        with pytest.raises(PhoneError, match="cut short"):
            phone.screenshot()
    assert phone.screenshot().width == SIZE[0]


@pytest.mark.parametrize("kind", ["black", "white"])
def test_blank_image_occurs_once(troubled: Troubled, kind: str) -> None:
    phone, device = troubled(kind)
    pictures = [phone.service("exec:screencap -p") for _ in range(2)]
    assert pictures == [one_colour(SIZE, kind), device.screenshot()]


def test_lost_keyboard_selects_the_stock_keyboard(troubled: Troubled) -> None:
    phone, _ = troubled("keyboard_lost", of="commands", after=1)
    phone.shell("ime enable com.android.adbkeyboard/.AdbIME; ime set com.android.adbkeyboard/.AdbIME")
    assert phone.shell("settings get secure default_input_method").stdout == (
        "com.android.inputmethod.latin/.LatinIME\n"
    )


def test_trouble_ends_the_adb_server(put_on_wire: PutOnWire) -> None:
    server = AdbServer()
    port = put_on_wire(Device(SIZE)).port
    phone = SimulatedPhone(connect(server.address, (port,))[0], server.address, QUICK)
    address = f"{server.address.host}:{server.address.port}"
    phone.simulator("trouble", {"script": [{"kind": "server_killed", "of": "commands"}], "adb_server": address})
    with suppress(PhoneError):  # the answer may come first
        phone.shell("true")
    until = time.monotonic() + 5
    while server.child.running and time.monotonic() < until:
        time.sleep(0.02)
    assert not server.child.running
    with pytest.raises(PhoneError, match="refused"):
        phone.screenshot()
    server.close()


@pytest.mark.parametrize(
    ("kind", "version", "title", "window", "dismiss"),
    [
        (
            "permission",
            9,
            "Allow Shop?",
            "com.android.packageinstaller/com.android.packageinstaller.perm",
            "Don't allow",
        ),
        ("permission", 10, "Allow Shop?", "com.android.permissioncontroller/com.android.permissionco", "Don't allow"),
        ("permission", 14, "Allow Shop?", permission_window(14), "Don't allow"),
        ("not_responding", 9, "Shop isn't responding", "Application Not Responding: com.sim.shop", "Wait"),
        ("not_responding", 16, "Shop isn't responding", "Application Not Responding: com.sim.shop", "Wait"),
    ],
)
def test_a_dialog_covers_the_page_and_has_the_focus(
    troubled: Troubled, kind: str, version: int, title: str, window: str, dismiss: str
) -> None:
    phone, device = troubled(kind, version)
    phone.screenshot()
    assert device.state()["popup"] == title
    assert f" u0 {window}" in phone.shell("dumpsys window").stdout
    button = next(element for element in device.elements() if element.name == dismiss)
    x, y = button.center(SIZE)
    phone.shell(f"input tap {x} {y}")
    assert device.state()["popup"] == "" and device.state()["page"] == "shop/home"


def test_closing_an_app_that_does_not_respond_shows_the_home_screen(troubled: Troubled) -> None:
    phone, device = troubled("not_responding")
    phone.screenshot()
    x, y = next(element for element in device.elements() if element.name == "Close app").center(SIZE)
    phone.shell(f"input tap {x} {y}")
    assert device.state()["popup"] == "" and device.state()["page"] == "launcher/home"


def test_sleeping_phone_is_black_and_locked_until_it_is_woken_and_swiped(troubled: Troubled) -> None:
    phone, device = troubled("asleep")
    assert Screenshot(phone.service("exec:screencap -p")).image().getextrema() == ((0, 0),) * 3
    phone.shell("input tap 50 50; input keyevent HOME")
    assert device.state()["page"] == "shop/home" and not device.awake
    phone.shell("input keyevent WAKEUP")
    assert device.awake and device.locked
    phone.shell("input swipe 56 180 56 40")
    assert not device.locked and device.state()["page"] == "shop/home"


@pytest.mark.parametrize(("times", "outcome"), [(1, "picture"), (2, "picture"), (3, "falls asleep again and again")])
def test_sleep_is_never_taken_for_a_secure_page(troubled: Troubled, times: int, outcome: str) -> None:
    phone, device = troubled("asleep")
    script = [{"kind": "asleep", "after": after} for after in range(times)]
    phone.simulator("trouble", {"script": script})
    if outcome == "picture":
        assert phone.screenshot().png == device.screenshot()
    else:
        with pytest.raises(PhoneError, match=outcome):
            phone.screenshot()


def test_slow_page_shows_no_content_and_ignores_touches_for_two_captures(troubled: Troubled) -> None:
    phone, device = troubled("slow")
    seen = [phone.screenshot().sha]
    for y in range(40, 220, 10):
        phone.shell(f"input tap 50 {y}")
    assert device.state()["page"] == "shop/home"
    seen += [phone.screenshot().sha for _ in range(3)]
    assert seen[0] == seen[1] != seen[2] == seen[3]


def test_uiautomator_cannot_get_an_idle_state_on_a_slow_page(troubled: Troubled) -> None:
    phone, _ = troubled("slow", duration=3)
    phone.screenshot()
    phone.shell("dumpsys input_method; dumpsys window")  # these do not look at the screen
    for _ in range(2):
        answer = phone.shell("rm -f /sdcard/a.xml; uiautomator dump /sdcard/a.xml; cat /sdcard/a.xml")
        assert answer.stderr == "ERROR: could not get idle state.\ncat: /sdcard/a.xml: No such file or directory\n"
    assert "hierchary dumped to: /sdcard/a.xml" in phone.shell("uiautomator dump /sdcard/a.xml").stdout


@pytest.mark.parametrize(("version", "refused"), [(9, True), (11, True), (12, False), (16, False)])
def test_secure_page_is_refused_or_black_by_version_and_home_leaves_it(
    troubled: Troubled, version: int, refused: bool
) -> None:
    phone, device = troubled("secure", version)
    for _ in range(2):
        answer = phone.shell("screencap -p")
        assert answer.status == refused
        assert phone.service("exec:screencap -p") == (b"" if refused else one_colour(SIZE, "black"))
    phone.shell("input keyevent HOME")
    assert phone.screenshot().png == device.screenshot()


def test_command_line_sets_trouble_for_every_phone(server: ServerAddress) -> None:
    trouble = json.dumps({"script": [{"kind": "popup", "after": 1}]})
    command = [sys.executable, "-m", "mobile_r1_jax.phones.simulator", "--phones", "2", "--json", "--size=112x224"]
    with subprocess.Popen(
        [*command, "--trouble", trouble], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        for serial in connect(server, tuple(json.loads(process.stdout.readline())["ports"])):
            phone = SimulatedPhone(serial, server, QUICK)
            phone.screenshot()
            assert phone.simulator("state")["popup"] == ""
            phone.screenshot()
            assert phone.simulator("state")["popup"]
        process.stdin.close()
    refused = subprocess.run([*command, "--trouble", '{"rates": {"rain": 1}}'], capture_output=True, text=True)
    assert refused.returncode == 2 and "rates: there is no kind 'rain'" in refused.stderr.splitlines()[-1]


def test_outputs_are_sent_at_once(put_on_wire: PutOnWire, server: ServerAddress) -> None:
    listening = put_on_wire(Device(SIZE))
    [connection] = listening.android.trouble.connections
    accepted = connection.transport.get_extra_info("socket")
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_every_kind_of_trouble_states_its_start_and_duration() -> None:
    for kind in KINDS.values():
        assert kind.at in ("screenshot", "command") and (kind.duration > 0) == bool(kind.unit)
