"""Runs whose checkpoints lie in a bucket: what they refuse, and two hosts that are stopped, go on, and are exported."""

import signal
from dataclasses import replace
from pathlib import Path

import host_runs
import pytest
from etils import epath
from storage_emulator import Emulator
from test_run_directory import go_on, refusal, run_in, started_run
from test_several_hosts import wait_for_rows

from mobile_r1_jax.config import ConfigError, Run
from mobile_r1_jax.model.checkpoints.huggingface import load_policy
from mobile_r1_jax.run_directory import begin, check_storage
from mobile_r1_jax.stages.export import export
from mobile_r1_jax.training.checkpoint_storage import prepare_storage, steps_in


@pytest.fixture
def run(bucket: Emulator, tmp_path: Path) -> Run:
    """A run that began, with a checkpoint of its first stage in the bucket."""
    run = started_run(tmp_path, flags=(f"--checkpoints=gs://bucket/{tmp_path.name}/",))
    check_storage(run)
    (run.checkpoint_folder / "format_finetuning/20/position").write_text("{}")
    return run


def test_run_resumes_only_with_its_own_checkpoints(run: Run, tmp_path: Path) -> None:
    folder = f"gs://bucket/{tmp_path.name}"
    assert str(run.checkpoint_folder) == f"{folder}/run"
    go_on(run)
    assert f"checkpoints were in {folder}/run, are in {tmp_path}/run/checkpoints" in refusal(run_in(tmp_path))
    elsewhere = replace(run, checkpoints="gs://bucket/elsewhere")
    assert f"checkpoints were in {folder}/run, are in gs://bucket/elsewhere/run" in refusal(elsewhere)
    assert "discards the checkpoints of format_finetuning, all data, and" in refusal(elsewhere)
    other_machine = replace(run, folder=tmp_path / "other")
    assert "no config.yaml beside its checkpoints" in refusal(other_machine)
    run.directory.rename(tmp_path / "other-name")
    assert f"checkpoints were in {folder}/run, are in {folder}/other-name" in refusal(replace(run, name="other-name"))


def test_force_discards_the_checkpoints_in_the_bucket(run: Run, tmp_path: Path) -> None:
    said: list[str] = []
    begin(run_in(tmp_path, "--seed=3", f"--checkpoints={run.checkpoints}"), "policy", say=said.append)
    assert "discarding the checkpoints of format_finetuning, all data" in said[0]
    assert not run.checkpoint_folder.exists()


@pytest.mark.parametrize(
    "place", ["s3://bucket/folder", "gs:/bucket", "gs://", "gs://b//c", "folder", "gs://Bucket_/a b"]
)
def test_value_that_is_not_a_bucket_folder_is_refused(place: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^checkpoints is .*; name a folder of a bucket, gs://BUCKET/FOLDER"):
        run_in(tmp_path, f"--checkpoints={place}")


def test_run_does_not_start_without_its_bucket(run: Run) -> None:
    check_storage(replace(run, checkpoints=None))
    with pytest.raises(ConfigError, match=r"^checkpoints: there is no bucket gs://no-such-bucket, or it is not yours"):
        check_storage(replace(run, checkpoints="gs://no-such-bucket/folder"))


@pytest.mark.slow
def test_launch_with_a_wrong_bucket_is_a_one_line_error(bucket: Emulator, tmp_path: Path) -> None:
    [printed] = host_runs.start_run(tmp_path, 1, 1, "--checkpoints=gs://no-such-bucket/a").printed(120)
    assert printed.startswith("error: checkpoints: there is no bucket") and len(printed.splitlines()) < 3, printed
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_hosts_with_a_bucket_stop_resume_and_export(bucket: Emulator, tmp_path) -> None:
    policy, folder = host_runs.write_one_layer_policy(tmp_path / "policy"), tmp_path / "runs"
    flags = ["--stages=[format_finetuning]", "--format_finetuning.updates=1000", "--checkpoints=gs://bucket/two"]
    checkpoints, done = epath.Path("gs://bucket/two/run/format_finetuning"), 0
    stops = ((2, signal.SIGTERM, 1000), (2, signal.SIGKILL, 7), (1, signal.SIGTERM, 1000))
    for processes, number, every in stops:
        keep = ["--keep=1", "--keep_every=7", f"--save_every={every}"]
        run = host_runs.start_run(folder, processes, 2 // processes, *flags, *keep, policy=policy)
        wait_for_rows(run, done + 22)  # a save waits for the one before it: so one is complete after three times 7
        run.processes[-1].send_signal(number)
        printed = run.printed(120)
        rows = run.rows()
        assert [row["step"] for row in rows] == list(range(1, len(rows) + 1)) and len(rows) >= done + 22, printed[0]
        prepare_storage(checkpoints)
        done = steps_in(checkpoints)[-1]
        if number == signal.SIGTERM:
            assert [process.returncode for process in run.processes] == [143] * processes
            assert f"format_finetuning is saved after update {len(rows)}" in printed[0] and done == len(rows)
        else:
            assert done % 7 == 0 and done >= len(rows) - 15
    assert not (run.directory / "checkpoints").exists()
    *kept, last = steps_in(checkpoints)
    assert kept and all(step % 7 == 0 for step in kept) and last == done
    assert f"format_finetuning after {done} updates" in export(run.directory, tmp_path / "out")
    assert load_policy(tmp_path / "out").config == load_policy(policy).config
