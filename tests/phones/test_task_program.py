"""The shell lines of a task on a phone over real adb: verified resets, outcomes, teardown, dry runs."""

import threading
import time
from collections.abc import Iterator

import pytest

from mobile_r1_jax.phones.adb.dry_run import dry_run, report
from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.adb.stream import ServerAddress
from mobile_r1_jax.phones.adb.task_program import RESETS, await_start, clean_up, outcome, prepare
from mobile_r1_jax.phones.phone import PhoneError
from mobile_r1_jax.phones.providers.simulated import INSTANT, SimulatedPhone
from mobile_r1_jax.tasks.program import Check, Outcome, Program
from mobile_r1_jax.tasks.task import Task

SHOP = "am start -n com.sim.shop/.HomeActivity"
TURNED_ON = Check("settings get global probe", "equals", "1")


def task(
    *setup: str, checks: tuple[Check, ...] = (TURNED_ON,), teardown: tuple[str, ...] = (), opens: str = ""
) -> Task:
    return Task("settings", "Turn it on", program=Program(setup, opens, checks, teardown), name="probe")


@pytest.fixture
def stock(phones: tuple[SimulatedPhone, ...], server: ServerAddress) -> Iterator[AdbPhone]:
    """Return a phone like that of a user: only Android's shell commands reach it."""
    phone = AdbPhone(phones[2].serial, server, INSTANT)
    phone.shell("input keyevent 3; settings delete global probe; rm -f /sdcard/probe")
    yield phone
    phone.shell("input keyevent 3")


def front(phone: AdbPhone) -> str:
    return phone.shell("dumpsys window").stdout.split("mCurrentFocus=")[1].split("}")[0]


def test_program_prepares_checks_and_cleans_up_a_phone(stock: AdbPhone) -> None:
    probe = task("settings put global probe 0", SHOP, teardown=("settings delete global probe",))
    prepare(stock, probe)
    assert "launcher" in front(stock)
    assert outcome(stock, probe) is Outcome.NOT_DONE
    stock.shell("settings put global probe 1")
    assert outcome(stock, probe) is Outcome.DONE
    clean_up(stock, probe)
    assert stock.shell("settings get global probe").stdout == "null\n"


def test_link_opens_the_start_screen(stock: AdbPhone) -> None:
    prepare(stock, task(opens=SHOP))
    assert "com.sim.shop" in front(stock)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cat /sdcard/probe", Outcome.UNKNOWN),
        ("no_such_command", Outcome.UNKNOWN),
        ("dumpsys no_such_service", Outcome.UNKNOWN),
        ("cmd no_such_service", Outcome.UNKNOWN),
        ("settings get wrong probe", Outcome.UNKNOWN),
        ("cat /sdcard/probe; true", Outcome.UNKNOWN),
        ("echo 2; cat /sdcard/probe; true", Outcome.NOT_DONE),
        ("echo 1", Outcome.DONE),
    ],
)
def test_a_failed_command_makes_the_outcome_unknown(stock: AdbPhone, caplog, line: str, expected: Outcome) -> None:
    assert outcome(stock, task(checks=(Check(line, "equals", "1"),))) is expected
    assert (f"task probe: {line}: " in caplog.text) == (expected is Outcome.UNKNOWN)


def test_a_task_without_checks_has_an_unknown_outcome(stock: AdbPhone) -> None:
    prepare(stock, task(checks=()))
    assert outcome(stock, task(checks=())) is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (task("settings put global probe 1"),
         "a check says done before the first action: 'settings get global probe': 1"),
        (task("settings put nowhere probe 1"),
         "setup: 'settings put nowhere probe 1': exit status 255: Invalid namespace"),
        (task("true", "no_such_command"), "setup: 'no_such_command': exit status 127:"),
        (task("rm /sdcard/probe"), "setup: 'rm /sdcard/probe': exit status 1:"),
        (task(opens="am start -n com.nobody/.Main"), "setup: 'am start -n com.nobody/.Main': exit status 1:"),
        (task(opens="true"), "the page did not open: com.sim.launcher/com.sim.launcher.HomeActivity is in front"),
        (task(checks=(Check("cat /sdcard/probe", "equals", "x"), Check("echo x", "equals", "x"))), "a check says done"),
    ],
)  # fmt: skip
def test_failed_reset_is_an_infrastructure_failure(stock: AdbPhone, probe: Task, reason: str) -> None:
    attempts: list[str] = []
    with pytest.raises(PhoneError) as caught:
        prepare(stock, probe, stop_apps=lambda: attempts.append("stopped"), patience=0)
    assert reason in str(caught.value) and f"({RESETS} attempts)" in str(caught.value)
    assert "reset to task probe" in str(caught.value) and "\n" not in str(caught.value)
    assert len(attempts) == RESETS


def test_reset_is_repeated_until_the_start_state_is_right(stock: AdbPhone, caplog) -> None:
    lines = iter(["settings put global probe 1", "echo full > /sdcard/probe", "settings put global probe 0"])
    probe = task("mkdir -p /sdcard/probe; rm -r /sdcard/probe")
    prepare(stock, probe, stop_apps=lambda: stock.shell(next(lines)), patience=0)
    assert outcome(stock, probe) is Outcome.NOT_DONE
    assert "reset 1 of 3: a check says done" in caplog.text and "reset 2 of 3: setup: " in caplog.text


def test_preparation_waits_for_settings_with_a_delayed_effect(stock: AdbPhone) -> None:
    stock.shell("settings put global probe 1")
    late = threading.Timer(0.5, lambda: stock.shell("settings put global probe 0"))
    late.start()
    started = time.monotonic()
    prepare(stock, task())
    assert 0.4 < time.monotonic() - started < 3
    late.join()


def test_foreground_app_is_not_accepted_as_the_home_screen(stock: AdbPhone) -> None:
    assert await_start(stock, Program(), 0) == ""
    stock.shell(SHOP)
    assert await_start(stock, Program(), 0).startswith("the phone is not at Home: com.sim.shop/")
    assert await_start(stock, Program(opens=SHOP), 0) == ""


def test_teardown_runs_every_line_despite_errors(stock: AdbPhone, caplog) -> None:
    clean_up(stock, task(teardown=("no_such_command", "settings put global probe 5", "rm /sdcard/probe")))
    assert stock.shell("settings get global probe").stdout == "5\n"
    assert "'no_such_command': exit status 127" in caplog.text and "'rm /sdcard/probe': exit status 1" in caplog.text


def test_lost_phone_is_reported_at_once(server: ServerAddress) -> None:
    gone = AdbPhone("emulator-1", server, INSTANT)
    for call in (
        lambda: prepare(gone, task()),
        lambda: outcome(gone, task()),
        lambda: clean_up(gone, task("true", teardown=("true",))),
    ):
        with pytest.raises(PhoneError, match="emulator-1"):
            call()
    [row] = dry_run(gone, [task("true")])
    assert row.problem == "setup failed" and "emulator-1" in row.setup and row.answers == ()


def test_dry_run_prints_every_output(stock: AdbPhone) -> None:
    tasks = [
        task("settings put global probe 0", teardown=("settings delete global probe",)),
        task("no_such_command"),
        task(checks=(Check("echo a; echo b", "matches", "c"), Check("cat /sdcard/probe", "contains", "x"))),
        task(checks=()),
        task(checks=(Check("echo x", "equals", "x"),)),
        task(teardown=("false",)),
    ]
    lines = list(report(dry_run(stock, tasks, patience=0)))
    assert lines[:5] == [
        "probe: ready",
        "  instruction Turn it on",
        "  setup       ok",
        "  not done    'settings get global probe' printed: 0",
        "  teardown    ok",
    ]
    text = "\n".join(lines)
    assert (
        "probe: setup failed\n  instruction Turn it on\n  setup       setup: 'no_such_command': exit status 127:"
        in text
    )
    assert (
        "  not done    'echo a; echo b' printed: a b\n  unknown     'cat /sdcard/probe' printed: exit status 1: cat:"
        in text
    )
    assert "probe: no checks: only a judge can grade it" in text
    assert "  setup       a check says done before the first action: 'echo x': x" in text
    assert "probe: teardown failed" in text
    assert lines[-1] == "6 tasks: 1 ready, 5 with a problem"
