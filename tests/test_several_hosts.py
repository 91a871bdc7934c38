"""The launch command in several real processes: all three stages learn what they learn in one process."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import host_runs
import pytest
import yaml

from mobile_r1_jax import act, evaluate


def test_two_hosts_and_one_learn_the_same_from_stored_episodes(tmp_path: Path) -> None:
    policy = host_runs.write_one_layer_policy(tmp_path / "policy")
    runs = {}
    for processes in (2, 1):
        folder = tmp_path / f"{processes}"
        host_runs.store_episodes(folder / "run")
        runs[processes] = host_runs.start_run(folder, processes, 4 // processes, policy=policy)
        printed = runs[processes].finish()
        assert "Held-out tasks" in printed[0] and not any(printed[1:])  # process 0 alone prints
    host_runs.assert_same_updates(runs[2].rows(), runs[1].rows())
    assert {row["stage"] for row in runs[2].rows() if row.get("grad_norm", 0) > 0} == {
        "format_finetuning",
        "task_level",
    }
    assert "hosts" not in yaml.safe_load((runs[2].directory / "config.yaml").read_text())
    assert (runs[2].directory / "policy" / "model.safetensors").is_file()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that answers some prompts rightly: so groups of answers differ."""
    folder = tmp_path_factory.mktemp("trained")
    flags = ["--stages=[format_finetuning]", "--format_finetuning.updates=55", "--format_finetuning.frozen=[vision]"]
    flags += ["--format_finetuning.optimizer.learning_rate=3e-3", "--save_every=1000"]
    host_runs.start_run(folder, 1, 1, *flags).finish()
    return folder / "run" / "policy"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "devices", "mesh"), [(2, 2, "4x1"), (4, 1, "4x1"), (2, 4, "2x4x1"), (2, 4, "4x2")]
)
def test_hosts_and_one_process_sample_and_learn_the_same(
    trained: Path, tmp_path: Path, processes, devices, mesh
) -> None:
    flags = [f"--mesh={mesh}", "--temperature=1.3", "--evaluation.episodes=3"]
    flags += ["--format_finetuning.updates=2", "--action_level.updates=2", "--task_level.updates=3"]
    host_runs.store_episodes(tmp_path / "several" / "run", updates=2)  # the third update is played
    several = host_runs.start_run(tmp_path / "several", processes, devices, *flags, policy=trained)
    printed = several.finish()
    assert not any(printed[1:])
    played = sorted((several.directory / "trajectories").glob("task_level*"))
    assert [folder.name for folder in played] == ["task_level", *(f"task_level-host-{i}" for i in range(1, processes))]
    one = host_runs.HostRun([], tmp_path / "one" / "run")
    for folder in played:
        (one.directory / "trajectories" / folder.name).parent.mkdir(parents=True, exist_ok=True)
        folder.rename(one.directory / "trajectories" / folder.name)
    host_runs.start_run(tmp_path / "one", 1, processes * devices, *flags, policy=trained).finish()
    host_runs.assert_same_updates(several.rows(), one.rows())
    assert {row["stage"] for row in one.rows() if row.get("grad_norm", 0) > 0} >= {"action_level", "task_level"}


def wait_for_rows(run: host_runs.HostRun, count: int) -> None:
    """Wait until a run has logged `count` updates, or has ended."""
    while len(run.rows()) < count and all(process.poll() is None for process in run.processes):
        time.sleep(0.05)


@pytest.mark.slow
def test_stopped_and_killed_runs_resume_on_any_number_of_hosts(tmp_path: Path) -> None:
    policy, folder = host_runs.write_one_layer_policy(tmp_path / "policy"), tmp_path / "run"
    flags = ["--stages=[format_finetuning]", "--format_finetuning.updates=1000", "--save_every=5"]
    done = 0
    for processes, told, number in ((2, 1, signal.SIGTERM), (2, 0, signal.SIGKILL), (4, 3, signal.SIGKILL)):
        run = host_runs.start_run(folder, processes, 4 // processes, *flags, policy=policy)
        wait_for_rows(run, done + 8)
        assert [row["step"] for row in run.rows()] == list(range(1, len(run.rows()) + 1))
        run.processes[told].send_signal(number)
        began = time.monotonic()
        printed = run.printed(60)
        if number == signal.SIGTERM:
            done = len(run.rows())
            assert [process.returncode for process in run.processes] == [143] * processes
            assert f"format_finetuning is saved after update {done}" in printed[0] and "to go on:" in printed[0]
            assert not printed[1]
        else:
            for index, process in enumerate(run.processes):
                assert index == told or (process.returncode not in (0, None) and time.monotonic() - began < 30)
                assert index == told or f"process {told} (" in printed[index] or "another task died" in printed[index]
            kept = (run.directory / "checkpoints" / "format_finetuning").iterdir()
            done = max(int(path.name) for path in kept if path.name.isdecimal())
            assert done % 5 == 0 and done >= len(run.rows()) - 6
        for process in run.processes:  # what they started is gone with them
            assert not subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, text=True).stdout.strip()
    last = host_runs.start_run(folder, 1, 1, *flags, policy=policy)
    wait_for_rows(last, done + 8)  # a killed run logged up to 6 updates more than it saved
    last.processes[0].send_signal(signal.SIGTERM)
    printed = last.printed(60)[0]
    assert f"saved after update {len(last.rows())}" in printed
    assert [row["step"] for row in last.rows()] == list(range(1, len(last.rows()) + 1)) and len(last.rows()) >= done + 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--seed=1"], "the hosts differ: seed is 0 on process 0"),
        (["--mesh=1x2"], "the hosts differ: mesh is None on process 0"),
        (["--phones.most_turns=3"], "the hosts differ: phones.most_turns is 2 on process 0"),
        (["--folder=FOLDER/elsewhere"], "folder: process 1 does not see"),
    ],
)
def test_different_flags_are_a_one_line_error_before_anything_starts(tmp_path: Path, flags, says) -> None:
    last = [flag.replace("FOLDER", str(tmp_path)) for flag in flags]
    run = host_runs.start_run(tmp_path, 2, 1, last=last)
    for process, printed in zip(run.processes, run.printed(120), strict=True):
        assert process.returncode in (1, 2) and says in printed and len(printed.splitlines()) == 1, printed
    assert not run.directory.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--mesh=1x2"], "mesh 1x2: tensor = 2 crosses hosts of 1 device(s), so none could hold the policy to sample"),
        (["--mesh=4x1"], "mesh 4x1: 4 * 1 devices needed, 2 are there"),
        (["--phones.count=1"], "phones.count: fewer phones than the 2 hosts"),
        (["--format_finetuning.batch=1"], "format_finetuning.batch is 1, less than the 2 hosts"),
    ],
)
def test_indivisible_work_and_impossible_meshes_are_one_line_errors(tmp_path: Path, flags, says) -> None:
    run = host_runs.start_run(tmp_path, 2, 1, *flags)
    for printed in run.printed(120):
        assert says in printed and len(printed.splitlines()) == 1, printed


def refused(run: host_runs.HostRun) -> set[str]:
    """Return what the processes of a run that is refused print, a line each."""
    printed = run.printed(120)
    for process, text in zip(run.processes, printed, strict=True):
        assert process.returncode in (1, 2) and len(text.splitlines()) == 1, text
    assert not run.directory.exists()
    return {text.strip() for text in printed}


@pytest.mark.slow
@pytest.mark.parametrize("command", ["launch", "evaluate"])
def test_different_code_is_a_one_line_error(tmp_path: Path, command: str) -> None:
    root = Path(__file__).resolve().parent.parent
    for package in ("mobile_r1_jax", "data_pipelines"):
        shutil.copytree(root / package, tmp_path / "copy" / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "copy" / "mobile_r1_jax" / "rl" / "advantages.py").open("a") as file:
        file.write("\n# changed\n")
    changed = {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(tmp_path / "copy")}
    run = host_runs.start_run(tmp_path / "run", 2, 1, command=command, last_variables=changed)
    (line,) = refused(run)
    assert "the hosts differ: the code is " in line and "start all with the same code, libraries, flags and" in line


@pytest.mark.slow
def test_different_libraries_are_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "other" / "optax-0.0.1.dist-info").mkdir(parents=True)
    (tmp_path / "other" / "optax-0.0.1.dist-info" / "METADATA").write_text("Name: optax\nVersion: 0.0.1\n")
    paths = os.pathsep.join([str(tmp_path / "other"), *filter(None, sys.path)])
    (line,) = refused(host_runs.start_run(tmp_path / "run", 2, 1, last_variables={"PYTHONPATH": paths}))
    assert "the hosts differ: optax is " in line and "and 0.0.1 on process 1 (" in line


@pytest.mark.slow
@pytest.mark.parametrize("command", ["launch", "evaluate"])
def test_same_phone_on_two_hosts_is_a_one_line_error(tmp_path: Path, command: str) -> None:
    flags = ["--tasks=configs/tasks/aosp.yaml", "--phones.source=[devices]", "--phones.devices.server=127.0.0.1:5037"]
    serials, more = ["--phones.devices.serials=[a,10.0.0.7:5555]"], ["--phones.devices.serials=[10.0.0.7:5555]"]
    run = host_runs.start_run(tmp_path / "run", 2, 1, *flags, *serials, command=command, last=more)
    says = "10.0.0.7:5555 is driven by processes 0 and 1; list every phone on one host only"
    assert all(line.endswith(says) for line in refused(run))


@pytest.mark.slow
@pytest.mark.parametrize("command", ["launch", "evaluate"])
def test_missing_host_is_a_one_line_error(tmp_path: Path, command: str) -> None:
    run = host_runs.start_run(tmp_path / "run", 2, 1, "--hosts.wait=12", command=command, last=["--nonsense"])
    printed = run.printed(60)
    assert "process 1 of 2 did not come within 12 s (hosts.wait)" in printed[0] and len(printed[0].splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("command", "tool"), [("evaluate", "mpi"), ("launch", "slurm")])
def test_processes_of_a_start_tool_and_one_process_evaluate_the_same(tmp_path: Path, command, tool) -> None:
    policy = host_runs.write_one_layer_policy(tmp_path / "policy")
    flags = ["--evaluation.episodes=5", "--evaluation.unseen_app_episodes=2", "--stages=[format_finetuning]"]
    several = host_runs.start_run(tmp_path / "2", 2, 1, *flags, command=command, tool=tool, policy=policy)
    one = host_runs.start_run(tmp_path / "1", 1, 2, *flags, command=command, policy=policy)
    printed, (printed_by_one,) = several.finish(), one.finish()
    assert printed[0].count("Held-out tasks: per cent") == 1 and not printed[1]
    tables = [text[text.index("Held-out tasks") : text.rindex("┘")] for text in (printed[0], printed_by_one)]
    assert tables[0] == tables[1]
    results = [(run.directory / "results.jsonl").read_text().splitlines() for run in (several, one)]
    for found, wanted in zip(*(map(json.loads, rows) for rows in results), strict=True):
        if found["stage"] == "format finetuning":  # its weights were rounded in another order
            found["measured_on"].pop("weights"), wanted["measured_on"].pop("weights")
        assert found == wanted
    folders = {folder.name.rpartition("-host-")[2] for folder in (several.directory / "trajectories").iterdir()}
    assert "1" in folders and len(folders) > 1


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (act, ["Turn Wifi on"]),
        (evaluate, ["--dry_run", "--tasks=configs/tasks/aosp.yaml"]),
        (evaluate, ["--data=."]),
        (evaluate, ["--predictions=answers.jsonl"]),
        (evaluate, ["--judge_agreement"]),
    ],
)
def test_commands_for_one_process_are_one_line_errors_in_several(
    command, arguments, monkeypatch, capfd, tmp_path
) -> None:
    for name, value in host_runs.places(4, "slurm")[2][1].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "1000")
    assert command.main([*arguments, f"--folder={tmp_path}"]) == 2
    (line,) = capfd.readouterr().out.strip().splitlines()
    assert "runs in one process, and this is process 2 of 4; start one" in line and "--hosts.count=1" in line
    assert not list(tmp_path.iterdir())
