"""`python -m mobile_r1_jax.export`: from a run's Orbax checkpoint to a directory that transformers loads."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import yaml
from flax import nnx
from safetensors.numpy import load_file
from small_models import SIZES, batch, make_prompt, torch_inputs
from transformers import Qwen2_5_VLForConditionalGeneration

from mobile_r1_jax.export import main
from mobile_r1_jax.model.checkpoints import huggingface
from mobile_r1_jax.model.checkpoints.huggingface import load_policy, save_policy
from mobile_r1_jax.model.lora import with_adapters
from mobile_r1_jax.model.lora_settings import LoRA
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.stages.export import format_size
from mobile_r1_jax.training import checkpoints
from mobile_r1_jax.training.checkpoints import open_checkpoints, save, stored_parameters
from mobile_r1_jax.training.optimizer_settings import OptimizerSettings
from mobile_r1_jax.training.state import create_state

LORA = LoRA(rank=3, alpha=6, projections=("q", "v", "down"))
BESIDE = {"vocab.json": '{"a": 0}', "merges.txt": "a b\n", "chat_template.json": "{}", "preprocessor_config.json": "{}"}


def trained(policy: Policy, amount: float) -> Policy:
    """Return the policy with changed weights, as after training."""
    return jax.tree.map(lambda x: x * jnp.asarray(1 + amount, x.dtype), policy)


def checkpoint(run: Path, stage: str, step: int, policy: Policy, frozen: tuple[str, ...] = ("vision",)) -> None:
    with open_checkpoints(run / "checkpoints" / stage) as manager:
        policy = jax.tree.map(jnp.copy, policy)
        save(manager, create_state(policy, OptimizerSettings(), frozen=frozen, key=jax.random.key(0)), step, {})
        manager.wait_until_finished()


def assert_same_weights(one: Policy, other: Policy) -> None:
    assert one.config == other.config
    jax.tree.map(np.testing.assert_array_equal, nnx.state(one), nnx.state(other))


@pytest.fixture
def run(pair, tmp_path) -> Path:
    """Return a run directory: format finetuning is finished, action-level training is not."""
    began_with = shutil.copytree(pair.directory, tmp_path / "began_with")
    for name, text in BESIDE.items():
        (began_with / name).write_text(text)
    run = tmp_path / "runs" / "small"
    checkpoint(run, "format_finetuning", 7, trained(pair.policy, 0.5), frozen=())
    checkpoint(run, "action_level", 3, trained(pair.policy, 0.25))
    (run / "config.yaml").write_text(yaml.safe_dump({"name": "small", "policy": str(began_with)}))
    return run


def test_latest_stage_is_exported_and_transformers_gives_its_logits(pair, run, tmp_path, capsys) -> None:
    out = tmp_path / "exported"
    assert main([str(run), f"--out={out}"]) == 0
    assert "action_level after 3 updates, float32" in capsys.readouterr().out
    policy = trained(pair.policy, 0.25)
    assert_same_weights(load_policy(out), policy)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(out)
    prompt, completion = make_prompt(model, SIZES), np.array([3, 1, 4, 1, 5], np.int32)
    with torch.no_grad():
        theirs = model(**torch_inputs(prompt, completion)).logits[0, -len(completion) - 1 : -1]
    hidden = policy.completion_hidden(
        *batch([prompt], policy.config.vision), completion[None, None], np.ones((1, 1, len(completion)), bool)
    )
    np.testing.assert_allclose(policy.text.logits(hidden)[0, 0], theirs, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (8_190_000, "8.19 MB"),
        (999_999, "1 MB"),
        (6_042e6, "6.04 GB"),
        (145e9, "145 GB"),
        (1.45e12, "1.45 TB"),
    ],
)
def test_sizes_are_printed_in_a_suitable_unit(size: int, words: str) -> None:
    assert format_size(int(size)) == words


DAMAGE = {
    "cut": (lambda file: os.truncate(file, 1000), "has 1,000 of its"),
    "empty": (lambda file: os.truncate(file, 0), "has 0 of its"),
    "lost": (lambda file: file.unlink(), "is missing"),
    "changed": (lambda file: file.write_bytes(file.read_bytes()[:-9] + b"\0" * 9), "is not as it was written"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_newest_intact_checkpoint_is_exported_instead_of_a_damaged_one(
    kind, pair, run, tmp_path, capsys, caplog
) -> None:
    checkpoint(run, "action_level", 5, trained(pair.policy, 0.75))
    damage, said = DAMAGE[kind]
    folder = run / "checkpoints" / "action_level"
    damage(max((folder / "5").rglob("*/d/*"), key=lambda path: path.stat().st_size))
    assert main([str(run), f"--out={tmp_path / 'exported'}"]) == 0
    assert "action_level after 3 updates, float32" in (printed := capsys.readouterr().out) and " 0.00 GB" not in printed
    [warning] = [record.getMessage() for record in caplog.records if "is damaged" in record.getMessage()]
    assert warning.startswith("checkpoint 5 in ") and said in warning and warning.endswith("; taking checkpoint 3")
    assert_same_weights(load_policy(tmp_path / "exported"), trained(pair.policy, 0.25))


def test_stage_with_only_damaged_checkpoints_is_an_error(run, tmp_path, capsys) -> None:
    (run / "checkpoints/action_level/3/state/_METADATA").unlink()
    assert main([str(run), f"--out={tmp_path / 'exported'}"]) == 2
    printed = capsys.readouterr().err.strip()
    assert printed.startswith("error: no intact checkpoint in ") and "state/_METADATA is missing" in printed
    assert len(printed.splitlines()) == 1 and not (tmp_path / "exported").exists()
    assert main([str(run), f"--out={tmp_path / 'exported'}", "--stage=format_finetuning"]) == 0


WITHOUT_TORCH = """
import importlib.util, runpy, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.partition(".")[0] == "torch" else find(name, package)
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    "command",
    [
        ["mobile_r1_jax.view", "nowhere"],
        ["mobile_r1_jax.export", "nowhere", "--out=x"],
        ["mobile_r1_jax.plan"],
        ["tools.base_policy", "--help"],
    ],
)
def test_command_prints_no_warning_about_missing_torch(command: list[str]) -> None:
    line = [sys.executable, "-c", WITHOUT_TORCH, *command]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    assert said.strip() and "Traceback" not in said and "torch" not in said.lower()


def test_other_files_are_copied_from_the_initial_policy(run, tmp_path) -> None:
    assert main([str(run), f"--out={tmp_path / 'exported'}"]) == 0
    assert {name: (tmp_path / "exported" / name).read_text() for name in BESIDE} == BESIDE
    assert not list(tmp_path.glob("*.draft"))


@pytest.mark.slow
def test_only_one_of_several_concurrent_exports_succeeds(pair, run, tmp_path) -> None:
    out = tmp_path / "exported"
    command = [sys.executable, "-m", "mobile_r1_jax.export", str(run), f"--out={out}"]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [subprocess.Popen(command, **output) for _ in range(3)]
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 2, 2], printed
    assert sum("is there already; choose a new directory for --out" in text for text in printed) == 2
    assert_same_weights(load_policy(out, jnp.float32), trained(pair.policy, 0.25))
    assert not list(tmp_path.glob("*.draft"))


def test_earlier_stage_and_another_dtype_can_be_exported(pair, run, tmp_path) -> None:
    out = tmp_path / "exported"
    assert main([str(run), f"--out={out}", "--stage=format_finetuning", "--dtype=bfloat16"]) == 0
    assert_same_weights(
        load_policy(out, jnp.bfloat16), jax.tree.map(lambda x: x.astype(jnp.bfloat16), trained(pair.policy, 0.5))
    )
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"


def test_export_has_the_dtype_of_the_initial_policy(pair, run, tmp_path) -> None:
    config = tmp_path / "began_with" / "config.json"
    config.write_text(config.read_text().replace('"float32"', '"bfloat16"'))
    assert main([str(run), f"--out={tmp_path / 'exported'}"]) == 0
    weights = load_file(tmp_path / "exported" / "model.safetensors")
    assert {value.dtype.name for value in weights.values()} == {"bfloat16"}


def test_large_parameters_are_stored_by_layer_and_exported_by_block(pair, tmp_path, monkeypatch) -> None:
    """The host needs memory for a chunk and a block, not for a parameter of all layers."""
    monkeypatch.setattr(checkpoints, "WHOLE", 0)
    monkeypatch.setattr(huggingface, "BLOCK", 1000)
    checkpoint(tmp_path / "run", "task_level", 1, pair.policy)
    _, stored = stored_parameters(tmp_path / "run" / "checkpoints" / "task_level")
    gate = stored["text.layers.feed_forward.gate.kernel"]
    assert gate.chunk_layout.read_chunk.shape == (1, *gate.shape[1:])
    assert main([str(tmp_path / "run"), f"--out={tmp_path / 'exported'}", f"--policy={pair.directory}"]) == 0
    assert_same_weights(load_policy(tmp_path / "exported"), pair.policy)


@pytest.fixture
def adapted(pair, tmp_path) -> tuple[Path, Policy]:
    """Return the directory of a run that trained adapters, and the policy with them."""
    policy = with_adapters(pair.policy, LORA, key=jax.random.key(0))
    nnx.update(policy, jax.tree.map(lambda leaf: leaf + 0.1, nnx.state(policy, nnx.LoRAParam)))
    run = tmp_path / "runs" / "adapted"
    checkpoint(run, "action_level", 3, policy)
    values = {"policy": str(pair.directory), "lora": asdict(LORA) | {"projections": list(LORA.projections)}}
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    return run, policy


def test_adapters_are_merged_into_the_initial_weights(adapted, tmp_path) -> None:
    run, policy = adapted
    assert main([str(run), f"--out={tmp_path / 'exported'}"]) == 0
    save_policy(policy, tmp_path / "left")
    assert_same_weights(load_policy(tmp_path / "exported"), load_policy(tmp_path / "left"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_peft_export_contains_only_adapters(adapted, tmp_path, dtype) -> None:
    run, policy = adapted
    assert main([str(run), f"--out={tmp_path / 'exported'}", "--peft", f"--dtype={dtype}"]) == 0
    written = load_file(tmp_path / "exported" / "adapter_model.safetensors")
    assert len(written) == 2 * 3 * 3 and {value.dtype.name for value in written.values()} == {dtype}
    name = "base_model.model.model.language_model.layers.2.mlp.down_proj.lora_A.weight"
    expected = policy.text.layers.feed_forward.down.adapter.a[2].T.astype(dtype)
    np.testing.assert_array_equal(written[name], expected)
    assert json.loads((tmp_path / "exported" / "adapter_config.json").read_text())["lora_alpha"] == 6


def test_peft_export_of_a_run_without_adapters_is_refused(run, tmp_path, capsys) -> None:
    assert main([str(run), f"--out={tmp_path / 'exported'}", "--peft"]) == 2
    assert "trained no adapters but the weights themselves; leave --peft out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("break_it", "flags", "said"),
    [
        (lambda run: (run / "config.yaml").unlink(), [], "no config.yaml in "),
        (lambda run: shutil.rmtree(run.parent.parent / "began_with"), [], "which is not there; say where it is now by"),
        (lambda run: shutil.rmtree(run / "checkpoints"), [], "no finished checkpoint of any stage in "),
        (lambda run: None, ["--stage=task_level"], "stages begun: action_level, format_finetuning"),
        (lambda run: None, ["--policy=nowhere"], "nowhere: no config.json"),
        (lambda run: (run / "exported" / "old").mkdir(parents=True), [], "is there already; choose a new directory"),
    ],
    ids=["no run", "policy moved", "no checkpoint", "no such stage", "no such policy", "out is taken"],
)
def test_run_that_cannot_be_exported_is_a_one_line_error(break_it, flags, said, run, capsys) -> None:
    break_it(run)
    assert main([str(run), f"--out={run / 'exported'}", *flags]) == 2
    printed = capsys.readouterr().err.strip()
    assert said in printed and len(printed.splitlines()) == 1 and printed.startswith("error: ")


def test_error_for_another_architecture_names_every_different_parameter(run, tmp_path, capsys) -> None:
    config = tmp_path / "began_with" / "config.json"
    values = json.loads(config.read_text())
    values["text_config"]["vocab_size"], values["tie_word_embeddings"] = 200, not values["tie_word_embeddings"]
    config.write_text(json.dumps(values))
    assert main([str(run), f"--out={tmp_path / 'exported'}"]) == 2
    printed = capsys.readouterr().err
    assert "text.embedding is (160, 64), need (200, 64)" in printed and "text.head" in printed
    assert not (tmp_path / "exported").exists()
