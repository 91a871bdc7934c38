"""What is killed on one of several hosts while they play: the others wait, or a restart replays what was stored."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import host_runs
import pytest
from real_processes import commands_of

FLAGS = ["--stages=[task_level]", "--task_level.tasks=8", "--task_level.updates=2", "--save_every=1000"]
FLAGS += ["--phones.most_turns=3", "--shapes.prompt_tokens=[384]"]


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(run: host_runs.HostRun, happened: Callable[[], bool]) -> None:
    while not happened() and all(process.poll() is None for process in run.processes):
        time.sleep(0.02)


def start_second_update(folder: Path) -> host_runs.HostRun:
    """Start two hosts, and return when both play the episodes of the second update."""
    run = host_runs.start_run(folder, 2, 1, *FLAGS, policy=host_runs.write_one_layer_policy(folder.parent / "policy"))
    playing = [run.directory / "trajectories" / name / "playing.json" for name in ("task_level", "task_level-host-1")]
    wait_for(run, lambda: len(run.rows()) == 1 and all(lines(file) for file in playing))
    time.sleep(0.5)
    return run


@pytest.mark.slow
@pytest.mark.parametrize(("which", "fewest"), [("python", 2), ("adb", 0)])
def test_run_continues_after_a_kill_of_a_simulator_or_adb_server(tmp_path: Path, which: str, fewest: int) -> None:
    run = start_second_update(tmp_path / "run")
    os.kill(commands_of(run.processes[1].pid)[which], signal.SIGKILL)
    run.finish()
    assert run.rows()[0]["infrastructure_failures"] == 0
    assert fewest <= run.rows()[1]["infrastructure_failures"] <= 2  # of the two phones of host 1
    folders = [run.directory / "trajectories" / name for name in ("task_level", "task_level-host-1")]
    assert not lines(folders[0] / "failures.jsonl")
    assert len(lines(folders[1] / "failures.jsonl")) == run.rows()[1]["infrastructure_failures"]
    stored = [row for folder in folders for row in lines(folder / "replay.jsonl") if row["step"] == 2]
    assert sorted(row["index"] for row in stored) == list(range(32))


@pytest.mark.slow
@pytest.mark.parametrize(("killed", "hosts"), [(1, 2), (0, 1)])
def test_restart_replays_stored_episodes_and_records_interrupted_ones(tmp_path: Path, killed: int, hosts: int) -> None:
    run = start_second_update(tmp_path / "run")
    before = run.rows()
    folders = [run.directory / "trajectories" / name for name in ("task_level", "task_level-host-1")]
    stored = [lines(folder / "data.jsonl") for folder in folders]
    assert sum(map(len, stored)) == 32
    run.processes[killed].kill()
    run.printed(60)
    again = host_runs.start_run(tmp_path / "run", hosts, 2 // hosts, *FLAGS, policy=tmp_path / "policy")
    again.finish()
    host_runs.assert_same_updates(again.rows()[:1], before)
    assert [row["step"] for row in again.rows()] == [1, 2]
    for folder, kept in zip(folders, stored, strict=True):
        assert [row for row in lines(folder / "data.jsonl") if row["scores"]["step"] == 1] == kept
        assert [row["step"] for row in lines(folder / "interrupted.jsonl")] == [2]
    numbers = [row["index"] for folder in folders for row in lines(folder / "replay.jsonl") if row["step"] == 2]
    assert sorted(numbers) == list(range(32))


@pytest.mark.slow
@pytest.mark.parametrize("told", [0, 1])
@pytest.mark.parametrize(
    ("flags", "begun", "seconds"),
    [
        (["--stages=[task_level]", "--evaluation.episodes=400"], "trajectories/evaluation-base/episodes.jsonl", 0),
        (["--stages=[format_finetuning]"], "checkpoints/format_finetuning", 3),  # the first compilation
        (FLAGS, "trajectories/task_level/playing.json", 3),
    ],
    ids=["evaluating", "compiling", "playing"],
)
def test_signal_to_one_host_ends_all_within_15_seconds(tmp_path: Path, flags, begun, seconds, told) -> None:
    policy = host_runs.write_one_layer_policy(tmp_path / "policy")
    run = host_runs.start_run(tmp_path / "run", 2, 1, *flags, policy=policy)
    wait_for(run, (run.directory / begun).exists)
    time.sleep(seconds)
    run.processes[told].send_signal(signal.SIGTERM)
    began = time.monotonic()
    printed = run.printed(60)
    assert time.monotonic() - began < 15
    assert run.processes[told].returncode == 128 + signal.SIGTERM, printed
    # If the main thread compiled for 5 s more, the process that was told has ended, and so has the other one.
    ends = (
        "stopped by SIGTERM; to go on: python -m",
        "has ended; start all hosts again",
        "with nothing to save; to go on",
    )
    assert all(process.returncode in (1, 143) for process in run.processes)
    assert any(words in printed[0] for words in ends), printed
