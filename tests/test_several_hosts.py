"""The launch command in several real processes: all three stages learn what they learn in one process."""

from pathlib import Path

import host_runs
import pytest
import yaml


def test_two_hosts_learn_from_stored_episodes_what_one_learns(tmp_path: Path) -> None:
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
def test_hosts_sample_and_learn_what_one_process_does(trained: Path, tmp_path: Path, processes, devices, mesh) -> None:
    flags = [f"--mesh={mesh}", "--temperature=1.3", "--evaluation.episodes=3"]
    flags += [f"--{stage}.updates=2" for stage in ("format_finetuning", "action_level", "task_level")]
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
