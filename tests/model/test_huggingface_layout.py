"""A written model directory has the published layout, in one file or several."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from safetensors.numpy import load_file
from small_models import SIZES, make_prompt, torch_inputs
from transformers import AutoImageProcessor, Qwen2_5_VLForConditionalGeneration

from mobile_r1_jax.model.checkpoints import huggingface
from mobile_r1_jax.model.checkpoints.huggingface import load_policy, save_policy
from mobile_r1_jax.model.policy import Policy

TINY_BASE = Path(__file__).resolve().parents[2] / "assets" / "tiny-base"
LIMIT = 250_000  # bytes a file


def assert_same_weights(one: Policy, other: Policy) -> None:
    assert one.config == other.config
    jax.tree.map(np.testing.assert_array_equal, nnx.state(one), nnx.state(other))


@pytest.fixture
def streamed(monkeypatch) -> None:
    """Load every parameter like a large one, and write every tensor in several blocks."""
    monkeypatch.setattr(huggingface, "WHOLE", 0)
    monkeypatch.setattr(huggingface, "BLOCK", 1000)


def test_several_files_have_published_names_sizes_and_index(pair, tmp_path) -> None:
    save_policy(pair.policy, tmp_path, max_file_bytes=LIMIT)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert [file.name for file in files] == [
        f"model-{n:05d}-of-{len(files):05d}.safetensors" for n, _ in enumerate(files, 1)
    ]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    held = {file.name: load_file(file) for file in files}
    assert index["weight_map"] == {name: file for file, tensors in held.items() for name in tensors}
    sizes = [sum(tensor.nbytes for tensor in tensors.values()) for tensors in held.values()]
    assert max(sizes) <= LIMIT and index["metadata"] == {"total_size": sum(sizes)}


def test_transformers_computes_the_same_logits_from_several_files(pair, tmp_path) -> None:
    save_policy(pair.policy, tmp_path, max_file_bytes=LIMIT)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(tmp_path)
    inputs = torch_inputs(make_prompt(pair.torch, SIZES))
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, pair.torch(**inputs).logits)


def test_overwriting_a_model_leaves_no_old_files(tied_pair, tmp_path) -> None:
    save_policy(tied_pair.policy, tmp_path, max_file_bytes=LIMIT)
    save_policy(tied_pair.policy, tmp_path)
    assert [file.name for file in tmp_path.glob("model*")] == ["model.safetensors"]
    assert_same_weights(load_policy(tmp_path), tied_pair.policy)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_large_parameters_are_read_and_written_by_tensor_bit_by_bit(pair, dtype, streamed, tmp_path) -> None:
    policy = load_policy(pair.directory, dtype)
    save_policy(policy, tmp_path, max_file_bytes=LIMIT)
    assert_same_weights(load_policy(tmp_path, dtype), policy)
    theirs = load_file(pair.directory / "model.safetensors")
    ours = {name: value for file in tmp_path.glob("*.safetensors") for name, value in load_file(file).items()}
    assert theirs.keys() == ours.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value.astype(dtype), err_msg=name)


def test_bfloat16_survives_float32_master_weights_bit_by_bit(tied_pair, tmp_path) -> None:
    save_policy(load_policy(tied_pair.directory, jnp.bfloat16), tmp_path / "published")
    masters = load_policy(tmp_path / "published", jnp.bfloat16, param_dtype=jnp.float32)
    save_policy(masters, tmp_path / "again", dtype=jnp.bfloat16)
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("published", "again")]
    assert files[0] == files[1]


def test_other_files_are_copied_and_the_config_has_the_new_dtype(tmp_path) -> None:
    source = tmp_path / "published"
    save_policy(load_policy(TINY_BASE), source)
    config = json.loads((source / "config.json").read_text())
    config["torch_dtype"], config["max_window_layers"] = config.pop("dtype"), 70
    beside = {
        "preprocessor_config.json": '{"max_pixels": 7}',
        "vocab.json": "{}",
        "merges.txt": "",
        "chat_template.json": "",
    }
    for name, text in {**beside, "config.json": json.dumps(config)}.items():
        (source / name).write_text(text)
    save_policy(load_policy(source), tmp_path / "written", dtype=jnp.bfloat16, like=source)
    assert {name: (tmp_path / "written" / name).read_text() for name in beside} == beside
    assert json.loads((tmp_path / "written" / "config.json").read_text()) == {**config, "torch_dtype": "bfloat16"}


def test_missing_preprocessor_config_is_written_for_transformers(tied_pair, tmp_path) -> None:
    save_policy(tied_pair.policy, tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    vision = tied_pair.policy.config.vision
    assert (processor.patch_size, processor.merge_size) == (vision.patch, vision.merge)


def test_source_of_another_architecture_is_refused(tied_pair, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"tiny-base: its config\.json is of another architecture"):
        save_policy(tied_pair.policy, tmp_path, like=TINY_BASE)
