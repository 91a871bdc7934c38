"""`launch` on other phones than its own simulated ones: a user's phones, a mixed fleet, and emulators."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from users_phones import KEYBOARD, UsersPhones, environment, users_phones

from mobile_r1_jax.phones.simulator.trouble import Event

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """
name: own
stages: [task_level]
save_every: 1
system: "Phone. Task: {instruction}"
resizing: {scale: 1.0}
shapes: {prompt_tokens: [320], response_tokens: 28, windows: [2], screens: 8}
phones: {count: 2, most_turns: 3, simulated: {size: [112, 224]}}
task_level: {updates: 3, tasks: 2, group: 4, micro_batch: 8, loss: {beta: 0.0}, optimizer: {learning_rate: 1.0e-4}}
evaluation: {episodes: 4, unseen_app_episodes: 0}
"""
# The small policy finishes no task. To make episodes differ, the last check of an episode passes on a lucky phone.
TASKS = """
- id: screen-timeout
  app: settings
  instruction: "Turn the screen off after {minutes} minutes"
  values: {minutes: {2: 120000, 5: 300000, 10: 600000}}
  held_out: {minutes: 10}
  setup: settings put system screen_off_timeout 1800000
  checks: [{shell: settings get system screen_off_timeout, equals: "{minutes}"}]
- id: luck
  app: clock
  instruction: "Be lucky"
  setup: rm -f /sdcard/asked
  checks:
    - shell: if [ -e /sdcard/asked ] && [ -e /sdcard/lucky ]; then echo yes; else echo no; touch /sdcard/asked; fi
      equals: "yes"
"""


def start(folder: Path, cache: Path, *flags: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "own.yaml").write_text(CONFIG)
    (folder / "tasks.yaml").write_text(TASKS)
    command = [sys.executable, "-m", "mobile_r1_jax.launch", f"--config={folder / 'own.yaml'}", f"--folder={folder}"]
    command += [f"--policy={ROOT / 'assets' / 'tiny-base'}", f"--tasks={folder / 'tasks.yaml'}", *flags]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=environment(cache, folder / "state"), start_new_session=True, **output)


def finish(run: subprocess.Popen[str]) -> str:
    output, _ = run.communicate(timeout=600)
    assert run.returncode == 0 and "Traceback" not in output, output
    return output


def rows(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for_update(folder: Path, number: int, run: subprocess.Popen[str]) -> None:
    while len(rows(folder / "own" / "metrics.jsonl")) < number and run.poll() is None:
        time.sleep(0.05)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


def make_lucky(phones: UsersPhones, number: int) -> None:
    phones.shell(number, "touch /sdcard/lucky")


def settings_restored(phones: UsersPhones, number: int) -> bool:
    keyboard = phones.shell(number, "settings get secure default_input_method")
    return keyboard == KEYBOARD and phones.shell(number, "settings get global stay_on_while_plugged_in") == "0"


@pytest.mark.slow
def test_launch_trains_on_phones_of_a_user_despite_trouble(tmp_path: Path, cache: Path) -> None:
    with users_phones(4) as phones:
        for number in range(4):
            phones.shell(number, "settings put global stay_on_while_plugged_in 0")
        make_lucky(phones, 0)
        phones.begin(3, "unauthorized", 3600)
        phones.wait_for_state("unauthorized", 3)
        asked = len(phones.requests[3])
        phones.trouble(1, Event("offline", after=150, of="commands", duration=1.0))
        run = start(tmp_path, cache, *phones.flags)
        wait_for_update(tmp_path, 1, run)
        phones.adb("disconnect", phones.serial(2))
        printed = finish(run)
        assert f"phone {phones.serial(3)} is unauthorized; accept the dialog on its screen; it is left out" in printed
        assert phones.simulator_only == [] and len(phones.requests[3]) == asked
        assert phones.phones[1].android.trouble.schedule.begun["offline"] == 1
        assert all(settings_restored(phones, number) for number in range(3))
        assert phones.serial(2) in phones.adb("devices")
    metrics = rows(tmp_path / "own" / "metrics.jsonl")
    assert [row["step"] for row in metrics] == [1, 2, 3]
    assert sum(row["infrastructure_failures"] for row in metrics) <= 3
    assert any(row["reward"] > -1 and row["zero_variance_groups"] < 2 and row["grad_norm"] > 0 for row in metrics)
    assert [row["stage"] for row in rows(tmp_path / "own" / "results.jsonl")] == ["base", "task-level"]
    played = rows(tmp_path / "own" / "trajectories" / "task_level" / "data.jsonl")
    assert {row["outcome"] for row in played if "outcome" in row} == {"done", "not done"}
    assert {row["instruction"] for row in played} <= {
        "Be lucky",
        "Turn the screen off after 2 minutes",
        "Turn the screen off after 5 minutes",
    }


@pytest.mark.slow
def test_mixed_fleet_trains_as_one(tmp_path: Path, cache: Path) -> None:
    with users_phones(2) as phones:
        make_lucky(phones, 1)
        one = [f"--phones.devices.serials=[{phones.serial(1)}]", "--phones.source=[simulated,devices]"]
        finish(start(tmp_path, cache, *phones.flags, *one, "--task_level.updates=2"))
        assert phones.simulator_only == []
        assert len(phones.requests[1]) > 100 and not phones.requests[0]
    metrics = rows(tmp_path / "own" / "metrics.jsonl")
    assert [row["infrastructure_failures"] for row in metrics] == [0, 0]
    assert any(row["reward"] > -1 for row in metrics)


@pytest.mark.slow
def test_launch_trains_on_emulators_that_it_starts_and_stops(tmp_path: Path, cache: Path, sdk: Path) -> None:
    port = 30000 + 20 * (os.getpid() % 500)
    flags = ["--phones.source=[emulators]", "--phones.emulators.avd=pixel", "--phones.emulators.snapshot=clean"]
    flags += ["--phones.emulators.count=2", f"--phones.emulators.first_port={port}", "--task_level.updates=1"]
    finish(start(tmp_path / "runs", cache, *flags, "--phones.timings={first_settle: 0, settle: 0, still: 0}"))
    assert [row["infrastructure_failures"] for row in rows(tmp_path / "runs" / "own" / "metrics.jsonl")] == [0]
    assert len((sdk / "avd" / "pixel.avd" / "starts.txt").read_text().splitlines()) > 8  # one for each episode
    assert not list((sdk / "runtime").rglob("pid_*.ini"))
