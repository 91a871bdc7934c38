"""The launch command on simulated phones over real adb: a whole run, a killed run, and refused runs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TINY_BASE = Path(__file__).resolve().parent.parent / "assets" / "tiny-base"
SMALL = """
name: small
save_every: 2
system: "Phone. Task: {instruction}"
tell_effects: false
resizing: {scale: 1.0}
shapes: {prompt_tokens: [224], response_tokens: 28, windows: [2], screens: 8}
phones: {count: 4, most_turns: 4, simulated: {size: [112, 224]}}
annotations: {count: 24}
format_finetuning: {updates: UPDATES, batch: 8, micro_batch: 8, frozen: [vision], optimizer: {learning_rate: 2.0e-3}}
action_level:
  {annotations: {count: 8, mistakes: 0.0}, updates: 3, prompts: 8, micro_batch: 8, group: 4, loss: {beta: 0.04},
   optimizer: {learning_rate: 1.0e-4}}
task_level: {updates: 3, tasks: 2, group: 4, micro_batch: 8, loss: {beta: 0.0}, optimizer: {learning_rate: 1.0e-4}}
evaluation: {episodes: 4, unseen_app_episodes: 2}
"""
TIMINGS = ("seconds", "seconds_data", "tokens_per_second", "row_use", "prompts_shared", "queue_seconds", "chunks")


def start(folder: Path, cache: Path, updates: int, *flags: str) -> subprocess.Popen[str]:
    """Start the command in a separate process, as a user would."""
    folder.mkdir(exist_ok=True)
    config = folder / "small.yaml"
    config.write_text(SMALL.replace("UPDATES", str(updates)))
    command = [sys.executable, "-m", "mobile_r1_jax.launch", f"--config={config}", f"--folder={folder}"]
    command += [f"--policy={TINY_BASE}", *flags]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PLATFORMS": "cpu", "COLUMNS": "140"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def metrics(folder: Path) -> list[dict[str, float]]:
    """Return the rows of a run without times."""
    path = folder / "small" / "metrics.jsonl"
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    return [{name: value for name, value in row.items() if name not in TIMINGS} for row in rows]


def results(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "small" / "results.jsonl").read_text().splitlines()]


def starts_of(folder: Path) -> list[dict]:
    return json.loads((folder / "small" / "run.json").read_text())["starts"]


def finish(run: subprocess.Popen[str]) -> str:
    output, _ = run.communicate(timeout=600)
    assert run.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, str]:
    """Return the folder and the output of a whole small run."""
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, finish(start(folder, cache, updates=4))


def test_run_evaluates_before_and_after_every_stage_and_prints_the_table(unbroken) -> None:
    folder, printed = unbroken
    stages = [row["stage"] for row in results(folder)]
    assert stages == ["base", "format finetuning", "action-level", "task-level"]
    assert all(stage in printed for stage in stages) and "Recovery" in printed


def test_a_run_leaves_its_config_metrics_checkpoints_trajectories_report_and_policy(unbroken) -> None:
    directory = unbroken[0] / "small"
    steps = [(row["stage"], row["step"]) for row in metrics(unbroken[0])]
    updates = {"format_finetuning": 4, "action_level": 3, "task_level": 3}
    assert steps == [(stage, step) for stage, last in updates.items() for step in range(1, last + 1)]
    kept = ("annotations/data.jsonl", "annotations-action-level/data.jsonl", "report.html", "tensorboard")
    for left in ("config.yaml", "policy/model.safetensors", "policy/tokenizer.json", "policy/agent.json", *kept):
        assert (directory / left).exists(), left
    assert {part.name for part in (directory / "trajectories").iterdir()} >= {"task_level", "evaluation-base"}
    assert {part.name for part in (directory / "checkpoints").iterdir()} == set(updates)


def test_finished_run_exports_its_final_policy(unbroken, tmp_path) -> None:
    from mobile_r1_jax.export import main

    directory, out = unbroken[0] / "small", tmp_path / "exported"
    assert main([str(directory), f"--out={out}", "--dtype=float32"]) == 0
    left = {file.name: file.read_bytes() for file in (directory / "policy").iterdir()}
    assert {file.name: file.read_bytes() for file in out.iterdir()} == left


def test_restarted_finished_run_does_nothing(unbroken, cache) -> None:
    before, starts = metrics(unbroken[0]), starts_of(unbroken[0])
    printed = finish(start(unbroken[0], cache, updates=4))
    assert metrics(unbroken[0]) == before and "task-level" in printed
    assert starts_of(unbroken[0])[:-1] == starts and starts_of(unbroken[0])[-1]["seeds"] == {"seed": 0}
    assert "--config=" in starts[0]["command"] and starts[0]["devices"]["backend"] == "cpu"


@pytest.mark.slow
def test_additional_updates_are_evaluated_and_exported_without_repeating_others(unbroken, cache, tmp_path) -> None:
    folder = shutil.copytree(unbroken[0], tmp_path / "copy")
    for stage in ("action_level", "task_level"):
        shutil.rmtree(folder / "small" / "checkpoints" / stage)
    before = results(folder)
    finish(start(folder, cache, 6))
    again = results(folder)[len(before) :]
    assert results(folder)[: len(before)] == before
    assert [row["stage"] for row in again] == ["format finetuning", "action-level", "task-level"]
    assert not {row["measured_on"]["weights"] for row in again} & {row["measured_on"]["weights"] for row in before}
    assert [row["step"] for row in metrics(folder) if row["stage"] == "format_finetuning"] == [1, 2, 3, 4, 5, 6]
    policies = [(place / "small" / "policy" / "model.safetensors").read_bytes() for place in (folder, unbroken[0])]
    assert policies[0] != policies[1]


@pytest.mark.slow
def test_one_stage_starts_from_a_stage_of_another_run(unbroken, cache, tmp_path) -> None:
    start_from = f"--policy={unbroken[0] / 'small'}:action_level"
    finish(start(tmp_path, cache, 4, "--stages=[task_level]", start_from, "--task_level.updates=1"))
    directory, before = tmp_path / "small", {row["stage"]: row for row in results(unbroken[0])}
    assert [row["stage"] for row in metrics(tmp_path)] == ["task_level"]
    assert [row["stage"] for row in results(tmp_path)] == ["base", "task-level"]
    assert results(tmp_path)[0]["success"] == before["action-level"]["success"]
    assert not (directory / "annotations").exists() and (directory / "policy" / "agent.json").exists()
    exported = unbroken[0] / "small" / "exported" / "action_level-3"
    assert (exported / "model.safetensors").exists() and (exported / "agent.json").exists()
    failed = start(tmp_path, cache, 4, f"--policy={unbroken[0] / 'small'}:third")
    assert (
        failed.communicate(timeout=100)[0].strip().endswith("choose from format_finetuning, action_level, task_level")
    )


def test_another_policy_is_refused_without_force(unbroken, cache, tmp_path) -> None:
    policy = shutil.copytree(unbroken[0] / "small" / "policy", tmp_path / "policy")
    before = results(unbroken[0])
    run = start(unbroken[0], cache, 4, f"--policy={policy}")
    output, _ = run.communicate(timeout=600)
    assert run.returncode == 2 and "the files of policy have changed" in output and "--force" in output
    assert results(unbroken[0]) == before and len(output.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_interrupted_run_saves_stops_its_phones_and_prints_how_to_resume(number, cache, tmp_path) -> None:
    run = start(tmp_path, cache, 1000)
    while len(metrics(tmp_path)) < 3 and run.poll() is None:
        time.sleep(0.05)
    run.send_signal(number)
    output, _ = run.communicate(timeout=60)
    done = len(metrics(tmp_path))
    assert run.returncode == 128 + number and f"format_finetuning is saved after update {done}" in output
    assert f"stopped by {number.name}; to go on: python -m mobile_r1_jax.launch --config=" in output
    assert "Traceback" not in output
    assert str(done) in {part.name for part in (tmp_path / "small" / "checkpoints" / "format_finetuning").iterdir()}
    group = subprocess.run(["pgrep", "-g", str(run.pid)], capture_output=True, text=True).stdout
    assert not group.strip()  # its child processes end with it


@pytest.mark.slow
def test_run_of_adapters_leaves_and_exports_the_merged_policy(tmp_path, cache) -> None:
    from mobile_r1_jax.export import main

    printed = finish(start(tmp_path, cache, 4, "--lora.rank=4", "--format_finetuning.optimizer.learning_rate=2.0e-2"))
    assert "M of them in adapters" in printed
    losses = [row["loss"] for row in metrics(tmp_path) if row["stage"] == "format_finetuning"]
    assert losses[-1] < losses[0] - 1
    directory, out = tmp_path / "small", tmp_path / "exported"
    assert main([str(directory), f"--out={out}", "--dtype=float32"]) == 0
    left = {file.name: file.read_bytes() for file in (directory / "policy").iterdir()}
    assert {file.name: file.read_bytes() for file in out.iterdir()} == left
    assert left["model.safetensors"] != (TINY_BASE / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Return the folder of a run long enough for its policy to learn something."""
    folder = tmp_path_factory.mktemp("whole")
    finish(start(folder, cache, updates=40))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("rows", [3, 42, 45], ids=["in stage 1", "in stage 2", "in stage 3"])
def test_run_killed_in_any_stage_ends_with_the_metrics_of_an_unbroken_run(rows, whole, tmp_path, cache) -> None:
    broken = tmp_path
    run = start(broken, cache, updates=40)
    while len(metrics(broken)) < rows and run.poll() is None:
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    finish(start(broken, cache, updates=40))
    for one, other in zip(metrics(broken), metrics(whole), strict=True):
        assert one == pytest.approx(other, abs=1e-4)  # the timing of phones determines which prompts share a batch
    played = [
        [{name: value for name, value in row.items() if name != "measured_on"} for row in results(folder)]
        for folder in (whole, broken)
    ]
    assert played[0] == played[1]


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--policy=nowhere", "policy: nowhere: no config.json"),
        ("--folder=/dev/null", "folder: /dev/null/tiny cannot be used (Not a directory)"),
        ("--folder=/dev/null/[/x]", "folder: /dev/null/[/x]/tiny cannot be used"),  # no markup for rich
        ("--system=[bold]", "{instruction}, may name {tools}, and doubles every other brace: '[bold]'"),
        ("--policy_base=nowhere", "holds no adapters; leave policy_base out"),
        ("--mesh=3x1", "mesh 3x1: 3 * 1 devices needed"),
        ("--task_level.grup=4", "task_level.grup"),
        ("--config=nowhere.yaml", "nowhere.yaml"),
        ("--shapes.prompt_tokens=[64]", "shapes.prompt_tokens: turn 10 can take"),
        (
            "--phones.simulated.apps=[camera]",
            "phones.simulated.apps: there are no tasks for 'camera'; choose",
        ),
        (
            "--phones.simulated.apps=[launcher]",
            "no task of 'launcher' is held out for evaluation; add clock or",
        ),
        ("--phones.simulated.size=[10,10]", "phones.simulated.size: "),
        ("--shapes.windows=[1]", "a phone's screen of 112x224: shapes.windows, for a screen of (112, 224): 2 needed"),
    ],
)
def test_impossible_run_is_refused_in_one_line_before_anything_starts(flag, said, tmp_path, capfd, monkeypatch) -> None:
    from mobile_r1_jax.launch import main

    monkeypatch.setenv("COLUMNS", "1000")
    arguments = [f"--folder={tmp_path}", flag]
    if not flag.startswith(("--policy=", "--config")):
        arguments.append(f"--policy={TINY_BASE}")
    assert main(arguments) == 2
    printed = capfd.readouterr().out.strip()
    assert said in printed and len(printed.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"tokenizer.json": None}, "no tokenizer (tokenizer.json, or vocab.json and merges.txt)"),
        ({"generation_config.json": '{"eos_token_id": 0}'}, "is not a stop token (eos_token_id: 0)"),
        ({"config.json": '{"model_type": "qwen2_5_vl"'}, "config.json is not valid JSON"),
        ({"model.safetensors": ""}, "model.safetensors (0 bytes) is not a complete safetensors file"),
        ({"quantize_config.json": '{"bits": 4}'}, "the checkpoint is quantised (gptq, 4 bits; quantize_config.json)"),
    ],
)
def test_unusable_policy_is_refused_in_one_line(files, said, tmp_path, capfd, monkeypatch) -> None:
    from mobile_r1_jax.launch import main

    monkeypatch.setenv("COLUMNS", "1000")
    policy = shutil.copytree(TINY_BASE, tmp_path / "policy")
    for name, text in files.items():
        (policy / name).unlink(missing_ok=True)
        if text is not None:
            (policy / name).write_text(text)
    assert main([f"--policy={policy}", f"--folder={tmp_path / 'runs'}"]) == 2
    printed = capfd.readouterr().out.strip()
    assert printed.startswith("error: ") and said in printed and len(printed.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("flag", "field", "said"),
    [
        ("--annotations.directory=nowhere", "annotations", "nowhere"),
        ("--action_level.annotations.directory=nowhere", "action_level.annotations", "nowhere"),
        ("--shapes.response_tokens=8", "annotations", "tokens, response_tokens leaves room for 8"),
    ],
)
def test_unusable_golden_steps_are_refused_before_phones_start(flag, field, said, tmp_path, capfd) -> None:
    from mobile_r1_jax.launch import main

    config = tmp_path / "small.yaml"
    config.write_text(SMALL.replace("UPDATES", "1"))
    assert main([f"--config={config}", f"--folder={tmp_path}", f"--policy={TINY_BASE}", flag]) == 2
    *_, error = capfd.readouterr().out.strip().splitlines()
    assert error.startswith(f"error: {field}") and said in error
    assert not (tmp_path / "small" / "results.jsonl").exists()
