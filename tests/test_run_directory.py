"""A run's directory: one launch at a time, and no run resumes with other settings or files unnoticed."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mobile_r1_jax.config import CONFIG, Annotations, ConfigError, Run, parse_run
from mobile_r1_jax.run_directory import INPUTS, begin, check, locked
from mobile_r1_jax.stages.declaration import STAGES

FLAGS = ("--phones.simulated.size=[112,224]",)


def run_in(folder: Path, *flags: str) -> Run:
    return parse_run("launch", [f"--folder={folder}", "--name=run", *flags])


def started_run(folder: Path, *stages: str, flags: tuple[str, ...] = ()) -> Run:
    """Return a started run with checkpoints of these stages."""
    run = run_in(folder, *flags)
    check(run, "policy")
    begin(run, "policy", say=print)
    for stage in stages:
        (run.directory / "checkpoints" / stage / "20").mkdir(parents=True)
    return run


def go_on(run: Run) -> None:
    """Start a run again, and check that nothing is refused or discarded."""
    check(run, "policy")
    begin(run, "policy", say=lambda line: pytest.fail(line))


def snapshot(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def refusal(run: Run, policy_hash: str = "policy") -> str:
    """Return the one-line error for a run that does not fit its directory, and check that nothing is written."""
    before = snapshot(run.directory)
    with pytest.raises(ConfigError) as caught:
        check(run, policy_hash)
    assert snapshot(run.directory) == before
    assert "\n" not in str(caught.value) and "--force" in str(caught.value)
    return str(caught.value)


def test_same_run_resumes(tmp_path: Path) -> None:
    run = started_run(tmp_path, *STAGES)
    go_on(run)
    assert parse_run("launch", [f"--config={run.directory / CONFIG}"]) == run


@pytest.mark.parametrize(
    "flag",
    [
        "--mesh=1x1",
        "--compiled=programs",
        "--save_every=7",
        "--phones.count=3",
        "--task_level.updates=99",
        "--evaluation.data_frame=resized",
        "--tracking.wandb=true",
    ],
)
def test_settings_without_effect_on_results_may_change(flag: str, tmp_path: Path) -> None:
    started_run(tmp_path, *STAGES)
    run = run_in(tmp_path, flag)
    go_on(run)
    assert parse_run("launch", [f"--config={run.directory / CONFIG}"]) == run


def test_evaluation_data_may_be_added(tmp_path: Path) -> None:
    started_run(tmp_path, *STAGES)
    (tmp_path / "data.jsonl").write_text("{}")
    go_on(run_in(tmp_path, f"--evaluation.data={tmp_path}"))


def test_moved_run_resumes(tmp_path: Path) -> None:
    started_run(tmp_path / "here", *STAGES)
    (tmp_path / "here").rename(tmp_path / "there")
    (tmp_path / "there" / "run").rename(tmp_path / "there" / "other")
    go_on(replace(run_in(tmp_path / "there"), name="other"))


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--lora.rank=4", "lora.rank was None, is 4"),
        ("--seed=5", "seed was 0, is 5"),
        ("--phones.simulated.size=[224,448]", "phones.simulated.size was [112, 224], is [224, 448]"),
        ("--annotations.count=7", "annotations.count was 1800, is 7"),
        ("--action_level.annotations=null", "action_level.annotations.count was 500, is None"),
        ("--format_finetuning.optimizer.b2=0.5", "format_finetuning.optimizer.b2 was 0.95, is 0.5"),
        ("--precision.compute=bfloat16", "precision.compute was float32, is bfloat16"),
        ("--system=Do {instruction}", "system was Phone. Task: {instruction}, is Do {instruction}"),
        ("--task_level.updates=3", "task_level.updates was 26, is 3"),
        ("--format_finetuning.updates=9999", "format_finetuning.updates was 1200, is 9999"),
        ("--guard.confirm=never", "guard.confirm was risky, is never"),
        ("--guard.allow=[com.acme.shop]", "guard.allow was [], is ['com.acme.shop']"),
        ("--evaluation.episodes=4", "evaluation.episodes was 400, is 4"),
        ("--stages=[format_finetuning,task_level]", "stages was ["),
    ],
)
def test_different_settings_are_named_and_nothing_is_written(flag: str, said: str, tmp_path: Path) -> None:
    started_run(tmp_path, *STAGES)
    assert said in refusal(run_in(tmp_path, flag))


def test_updates_may_be_added_to_the_last_started_stage(tmp_path: Path) -> None:
    started_run(tmp_path, "format_finetuning")
    more = run_in(tmp_path, "--format_finetuning.updates=1300", "--action_level.updates=100")
    go_on(more)
    assert "updates was 1300, is 1299" in refusal(run_in(tmp_path, "--format_finetuning.updates=1299"))


def test_stages_may_be_added_only_after_started_stages(tmp_path: Path) -> None:
    first = "--stages=[format_finetuning]"
    started_run(tmp_path, "format_finetuning", flags=(first,))
    go_on(run_in(tmp_path, "--stages=[format_finetuning,action_level]"))
    assert "stages was ['format" in refusal(run_in(tmp_path, "--stages=[action_level,task_level]"))
    started_run(tmp_path / "other", "task_level", flags=("--stages=[task_level]",))
    assert "stages was ['task_level'], is ['action_level'" in refusal(
        run_in(tmp_path / "other", "--stages=[action_level,task_level]")
    )


def test_another_policy_is_detected_and_a_moved_one_is_accepted(tmp_path: Path) -> None:
    run = started_run(tmp_path, "format_finetuning")
    assert "the files of policy have changed" in refusal(run, "another policy")
    go_on(replace(run, policy=Path("moved")))


def test_changed_annotations_are_detected_and_moved_ones_are_accepted(tmp_path: Path) -> None:
    for name in ("data", "moved"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.jsonl").write_text("{}\n")
    run = started_run(tmp_path / "runs", "format_finetuning", flags=(f"--annotations.directory={tmp_path / 'data'}",))
    go_on(replace(run, annotations=replace(run.annotations, directory=tmp_path / "moved")))
    assert "annotations.directory was" in refusal(replace(run, annotations=Annotations(count=1800)))
    (tmp_path / "data" / "data.jsonl").write_text("{}\n{}\n")
    assert "the files of annotations have changed" in refusal(run)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda directory: (directory / CONFIG).unlink(), "no config.yaml beside its checkpoints"),
        (lambda directory: (directory / CONFIG).write_text("a: [\n"), "cannot be read"),
        (lambda directory: (directory / INPUTS).write_text('{"policy": '), "cannot be read"),
        (lambda directory: (directory / CONFIG).write_text("- a\n- b\n"), "cannot be read"),
    ],
)
def test_directory_that_cannot_be_compared_is_refused(damage, said: str, tmp_path: Path) -> None:
    run = started_run(tmp_path, "format_finetuning")
    damage(run.directory)
    assert said in refusal(run)


def filled(run: Run) -> Path:
    """Return a run's directory with every kind of result, and a file of the user."""
    directory = run.directory
    rows = [{"stage": stage, "step": 1} for stage in STAGES]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    results = [{"stage": title} for title in ("base", *STAGES.values())]
    (directory / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in results))
    for name in ("annotations", "annotations-action-level", "prepared", "policy", "trajectories/task_level"):
        (directory / name).mkdir(parents=True)
        (directory / name / "file").touch()
    (directory / "trajectories" / "evaluation-task-level").mkdir()
    (directory / "notes.txt").touch()
    return directory


@pytest.mark.parametrize(
    ("flag", "checkpoints", "results", "gone"),
    [
        ("--seed=1", [], None, "trajectories"),
        ("--action_level.group=4", ["format_finetuning"], ["base", "format finetuning"], "annotations-action-level"),
        (
            "--task_level.group=4",
            ["action_level", "format_finetuning"],
            ["base", "format finetuning", "action-level"],
            "trajectories/evaluation-task-level",
        ),
        ("--evaluation.episodes=4", ["action_level", "format_finetuning", "task_level"], [], "policy"),
    ],
)
def test_force_reports_what_it_discards_and_keeps_compatible_results(
    flag, checkpoints, results, gone, tmp_path
) -> None:
    directory = filled(started_run(tmp_path, *STAGES))
    said = []

    def say(line: str) -> None:
        assert (directory / gone).exists()  # nothing is discarded yet
        said.append(line)

    run = run_in(tmp_path, flag)
    begin(run, "policy", say=say)
    assert len(said) == 1 and flag.split("=")[0].removeprefix("--") in said[0] and str(directory) in said[0]
    left = sorted(path.name for path in (directory / "checkpoints").glob("*")) if checkpoints else []
    assert left == checkpoints and not (directory / gone).exists() and (directory / "notes.txt").exists()
    kept = (directory / "results.jsonl").read_text().splitlines() if results is not None else None
    assert results is None or [json.loads(line)["stage"] for line in kept] == results
    assert yaml.safe_load((directory / CONFIG).read_text())["name"] == "run"
    go_on(run)


def test_directory_with_only_annotations_is_drawn_again_without_force(tmp_path: Path) -> None:
    directory = started_run(tmp_path).directory
    (directory / "annotations").mkdir()
    other, said = run_in(tmp_path, "--seed=1"), []
    check(other, "policy")
    begin(other, "policy", say=said.append)
    assert not (directory / "annotations").exists() and "seed was 0, is 1" in said[0]


def test_force_discards_nothing_without_differences(tmp_path: Path) -> None:
    run = started_run(tmp_path, *STAGES)
    before = snapshot(filled(run))
    begin(run, "policy", say=lambda line: pytest.fail(line))
    assert snapshot(run.directory) == before


HOLDER = """
import sys, time
from pathlib import Path
from mobile_r1_jax.run_directory import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(directory: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(directory)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_second_launch_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    directory = tmp_path / "runs" / "one"
    process = holder(directory)
    with (
        pytest.raises(ConfigError, match=r"another launch is using .*one; wait for it, stop it, or .*--name"),
        locked(directory),
    ):
        pass
    with locked(tmp_path / "runs" / "two"):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with locked(directory):
        (directory / "file").touch()
    assert (directory / "file").exists()


def test_unused_directory_is_removed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError), locked(tmp_path / "run"):
        raise ConfigError("no")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("file", "Not a directory"),
        ("file/inside", "Not a directory"),
        ("/dev/null/runs", "Not a directory"),
        ("x" * 300, "File name too long"),
        ("nul\0l", "embedded null byte"),
        ("/proc/nowhere", "No such file or directory"),
    ],
)
def test_unwritable_folder_is_a_one_line_error(folder: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^folder: ") as caught, locked(tmp_path / folder / "run"):
        pass
    assert said in str(caught.value) and "choose another --folder" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_lock_is_not_inherited_by_children(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "file").touch()
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    with locked(tmp_path / "run"):
        child.kill()
    child.wait()


def test_changed_data_of_a_mixture_is_detected(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.jsonl").write_text("{}\n")
    mixture = json.dumps({str(tmp_path / "a"): 1, str(tmp_path / "b"): 2})
    run = started_run(tmp_path / "runs", "format_finetuning", flags=(f"--annotations.mixture={mixture}",))
    go_on(run)
    other = replace(
        run, annotations=replace(run.annotations, mixture={**run.annotations.mixture, str(tmp_path / "b"): 3})
    )
    assert "was 2.0, is 3" in refusal(other)
    (tmp_path / "b" / "data.jsonl").write_text("{}\n{}\n")
    assert "the files of annotations have changed" in refusal(run)
