"""A run starts emulators: a stand-in for the SDK's `emulator` with its console protocol."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stand_in_emulator import TOKEN

from mobile_r1_jax.agent.actions import Click
from mobile_r1_jax.agent.coordinates import Frame, Point
from mobile_r1_jax.phones.emulator.avd import Sdk, running_emulators
from mobile_r1_jax.phones.emulator.console import ConsoleError, ask_console
from mobile_r1_jax.phones.phone import PhonesUnavailable
from mobile_r1_jax.phones.providers.emulators import emulators
from mobile_r1_jax.phones.settings import INSTANT, EmulatorSettings
from mobile_r1_jax.tasks.task import Task

PORTS = iter(range(21000 + 400 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")), 40000, 20))
TASK = Task("Settings", "Turn on Wi-Fi")


def settings(**values: object) -> EmulatorSettings:
    return EmulatorSettings(**{"avd": "pixel", "snapshot": "clean", "first_port": next(PORTS)} | values)


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text()


def test_instances_of_one_avd_restart_from_the_snapshot_before_each_task(sdk: Path) -> None:
    with emulators(settings(count=2), INSTANT) as phones:
        assert [phone.serial for phone in phones] == [f"emulator-{phone._launch.port}" for phone in phones]
        size = phones[0].size
        phones[0].reset(TASK)
        phones[0].perform(Click(Point(56, 112, Frame("device", *size))))
        before = [running.pid for running in running_emulators(Sdk(os.environ))]
        phones[0].reset(TASK)
        after = [running.pid for running in running_emulators(Sdk(os.environ))]
        assert len(before) == len(after) == 2 and len({*before} & {*after}) == 1
        assert phones[0].screenshot().width == 112 and phones[1].screenshot().height == 224
    assert not list(running_emulators(Sdk(os.environ))) and not any(map(lives, [*before, *after]))
    started = (sdk / "avd" / "pixel.avd" / "starts.txt").read_text().splitlines()
    assert len(started) == 3
    assert all("-read-only" in line and "-snapshot clean" in line and "-no-window" in line for line in started)


def test_copies_load_the_snapshot_in_place_and_restart_after_a_number_of_tasks(sdk: Path) -> None:
    with emulators(settings(copies=True, loads=4), INSTANT) as (phone,):
        for _ in range(5):
            phone.reset(TASK)
    copy = sdk / "avd" / "pixel-mobile-r1-jax-0.avd"
    assert (copy / "loads.txt").read_text().splitlines() == ["clean"] * 3  # not before the first task
    assert len((copy / "starts.txt").read_text().splitlines()) == 2  # the fourth task started it again
    assert "AvdId=pixel-mobile-r1-jax-0" in (copy / "config.ini").read_text()
    inside = (copy / "snapshots" / "clean" / "hardware.ini").read_text()
    assert f"{copy}/userdata.img" in inside and "avd.name = pixel-mobile-r1-jax-0" in inside
    assert "-read-only" not in (copy / "starts.txt").read_text()


def test_killed_emulator_restarts_despite_its_locks(sdk: Path) -> None:
    with emulators(settings(copies=True), INSTANT) as (phone,):
        phone.reset(TASK)
        (running,) = running_emulators(Sdk(os.environ))
        os.kill(running.pid, signal.SIGKILL)
        while lives(running.pid):
            time.sleep(0.01)
        phone.reconnect()
        assert phone.generation == 1 and phone.screenshot().width == 112
        assert [other.pid for other in running_emulators(Sdk(os.environ))] != [running.pid]


def test_emulators_end_with_a_killed_run(sdk: Path) -> None:
    port = next(PORTS)
    program = (
        "from mobile_r1_jax.phones.providers.emulators import emulators\n"
        "from mobile_r1_jax.phones.settings import EmulatorSettings\n"
        "from mobile_r1_jax.phones.settings import INSTANT\n"
        f"with emulators(EmulatorSettings('pixel', 1, 'clean', first_port={port}), INSTANT):\n"
        "    print('ready', flush=True); import time; time.sleep(600)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None and run.stdout.readline() == "ready\n"
    (running,) = running_emulators(Sdk(os.environ))
    run.kill()
    run.wait()
    deadline = time.monotonic() + 10
    while lives(running.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not lives(running.pid)
    with emulators(settings(first_port=port), INSTANT) as (phone,):  # its locks and its discovery file still exist
        assert phone.screenshot().width == 112


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"avd": "nexus"}, "no AVD 'nexus' in .*; there are: pixel"),
        ({"avd": None}, "emulator -list-avds"),
        ({"snapshot": "dirty"}, "pixel has no snapshot 'dirty'; it has: clean"),
    ],
)
def test_failed_start_is_a_one_line_error(values: dict[str, object], said: str, sdk: Path) -> None:
    with pytest.raises(PhonesUnavailable, match=said) as caught, emulators(settings(**values), INSTANT):
        pass
    assert "\n" not in str(caught.value)


def test_missing_sdk_and_ended_emulator_are_reported(sdk: Path, monkeypatch) -> None:
    program = sdk / "sdk" / "emulator" / "emulator"
    program.write_text("#!/bin/sh\necho CPU acceleration is not supported on this machine! >&2\nexit 1\n")
    with (
        pytest.raises(PhonesUnavailable, match="exit status 1; CPU accel"),
        emulators(settings(), INSTANT),
    ):
        pass
    program.unlink()
    with (
        pytest.raises(PhonesUnavailable, match="no `emulator` program in AND"),
        emulators(settings(), INSTANT),
    ):
        pass


def test_console_reports_failures_that_adb_emu_hides(sdk: Path) -> None:
    with emulators(settings(), INSTANT) as (phone,):
        port, home = phone._launch.port, sdk / "home"
        assert ask_console(port, "avd name", home=home, seconds=5) == ["pixel"]
        for command, said in (
            ("avd snapshot load clean", "KO: Snapshot load is disabled"),
            ("avd snapshot load nothing", "KO: "),
            ("avd dance", "KO: unknown command"),
        ):
            with pytest.raises(ConsoleError, match=said):
                ask_console(port, command, home=home, seconds=5)
        (home / ".emulator_console_auth_token").write_text(f"{TOKEN}x")
        with pytest.raises(ConsoleError, match="token does not match"):
            ask_console(port, "avd name", home=home, seconds=5)
        (home / ".emulator_console_auth_token").write_text(TOKEN)
    with pytest.raises(ConsoleError, match="refused"):
        ask_console(port, "ping", home=home, seconds=5)
