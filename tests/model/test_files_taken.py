"""The files and tensors of a directory that are loaded are those that transformers loads."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from altered import Tensors, copy_of
from flax import nnx
from safetensors.numpy import save_file
from small_models import save_torch_model
from transformers import Qwen2_5_VLForConditionalGeneration

from mobile_r1_jax.model.checkpoints.huggingface import load_policy
from mobile_r1_jax.model.policy import Policy


def assert_same_weights(one: Policy, other: Policy) -> None:
    assert one.config == other.config
    jax.tree.map(np.testing.assert_array_equal, nnx.state(one), nnx.state(other))


def assert_transformers_takes_the_same(directory: Path, model: Qwen2_5_VLForConditionalGeneration) -> None:
    theirs, report = Qwen2_5_VLForConditionalGeneration.from_pretrained(directory, output_loading_info=True)
    assert not any(report[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert all((one == other).all() for one, other in zip(theirs.parameters(), model.parameters(), strict=True))


def other_weights(tensors: Tensors) -> Tensors:
    return {name: value + 1 for name, value in tensors.items()}


@pytest.mark.parametrize(
    "beside",
    ["adapter_model.safetensors", "consolidated.safetensors", "model.fp16.safetensors", "training_state.safetensors"],
)
def test_other_safetensors_files_in_the_directory_are_ignored(tied_pair, tmp_path, beside) -> None:
    directory = copy_of(tied_pair.directory, tmp_path / "model", tensors=other_weights)
    shutil.move(directory / "model.safetensors", directory / beside)
    shutil.copy(tied_pair.directory / "model.safetensors", directory)
    assert_same_weights(load_policy(directory), tied_pair.policy)
    assert_transformers_takes_the_same(directory, tied_pair.torch)


def test_single_file_wins_over_an_index_and_unindexed_files_are_ignored(tied_pair, tmp_path) -> None:
    directory = save_torch_model(tied_pair.torch, tmp_path / "model", max_shard_size="200KB")
    save_file({"strange": np.zeros(3, np.float32)}, directory / "consolidated.safetensors")
    assert_same_weights(load_policy(directory), tied_pair.policy)
    shutil.copy(copy_of(tied_pair.directory, tmp_path / "b", tensors=other_weights) / "model.safetensors", directory)
    assert load_policy(directory).text.embedding[0, 0] == tied_pair.policy.text.embedding[0, 0] + 1


def test_file_named_by_config_json_is_loaded(tied_pair, tmp_path) -> None:
    directory = copy_of(
        tied_pair.directory,
        tmp_path / "model",
        tensors=other_weights,
        config=lambda values: values.update(transformers_weights="best.safetensors"),
    )
    shutil.copy(tied_pair.directory / "model.safetensors", directory / "best.safetensors")
    assert_same_weights(load_policy(directory), tied_pair.policy)
    assert_transformers_takes_the_same(directory, tied_pair.torch)


@pytest.mark.parametrize(
    "buffer",
    [
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "model.rotary_emb.inv_freq",
        "model.language_model.rotary_emb.inv_freq",
    ],
)
def test_buffers_that_transformers_ignores_are_ignored(tied_pair, tmp_path, buffer) -> None:
    directory = copy_of(
        tied_pair.directory,
        tmp_path / "model",
        tensors=lambda tensors: tensors | {buffer: np.ones(8, np.float32)},
    )
    assert_same_weights(load_policy(directory), tied_pair.policy)
    assert_transformers_takes_the_same(directory, tied_pair.torch)


def renamed(pattern: str, by: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {re.sub(pattern, by, name): value for name, value in tensors.items()}


@pytest.mark.parametrize(
    ("pattern", "by"),
    [(r"^model\.", "model.language_model."), (r"^model\.", "language_model."), (r"^(?=model|visual)", "model.")],
)
def test_tensor_names_of_other_transformers_modules_are_accepted(tied_pair, tmp_path, pattern, by) -> None:
    directory = copy_of(tied_pair.directory, tmp_path / "model", tensors=renamed(pattern, by))
    assert_same_weights(load_policy(directory), tied_pair.policy)
    assert_transformers_takes_the_same(directory, tied_pair.torch)


@pytest.mark.parametrize(
    ("pattern", "prefix", "said"),
    [
        ("^", "module.", "module."),
        ("^", "base_model.model.", "base_model.model."),
        (r"^model\.", "language_model.model.", "language_model."),
        ("^", "_orig_mod.", "_orig_mod."),
        ("^", "actor.module.", "actor.module."),
        (r"^(visual|model)\.(?=.*norm)", r"base_model.model.\1.", "base_model.model."),
    ],
)
def test_prefix_of_a_wrapper_is_a_one_line_error(tied_pair, tmp_path, pattern, prefix, said) -> None:
    directory = copy_of(tied_pair.directory, tmp_path / "model", tensors=renamed(pattern, prefix))
    with pytest.raises(ValueError) as error:
        load_policy(directory)
    printed = str(error.value).replace(str(directory), "")
    assert f"tensor names begin with '{said}', which a wrapper added" in printed
    assert "\n" not in printed and len(printed) < 300


def test_tensor_stored_under_two_names_is_refused(tied_pair, tmp_path) -> None:
    def twice(tensors: Tensors) -> Tensors:
        return tensors | {"model.language_model.norm.weight": tensors["model.norm.weight"] + 1}

    with pytest.raises(ValueError, match="stored twice"):
        load_policy(copy_of(tied_pair.directory, tmp_path / "model", tensors=twice))
