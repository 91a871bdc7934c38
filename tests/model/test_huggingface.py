"""Weights survive Hugging Face format bit by bit, and one error names everything that does not fit."""

import json
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from safetensors.numpy import load_file, save_file
from small_models import SIZES, make_prompt, torch_inputs
from transformers import Qwen2_5_VLForConditionalGeneration

from mobile_r1_jax.model.checkpoints.huggingface import load_policy, save_policy
from mobile_r1_jax.model.config import config_from_json, config_to_json
from mobile_r1_jax.model.policy import Policy


def assert_same_weights(one: Policy, other: Policy) -> None:
    assert one.config == other.config
    jax.tree.map(np.testing.assert_array_equal, nnx.state(one), nnx.state(other))


def altered_copy(directory: Path, target: Path, **tensors: np.ndarray | None) -> Path:
    """A copy of a model directory with tensors (dots written as __) replaced, added, or dropped where None."""
    shutil.copytree(directory, target)
    weights = load_file(target / "model.safetensors")
    for name, value in tensors.items():
        weights.pop(name.replace("__", "."), None)
        if value is not None:
            weights[name.replace("__", ".")] = value
    save_file(weights, target / "model.safetensors")
    return target


def test_checkpoint_of_transformers_is_saved_again_bit_by_bit(pair, tmp_path) -> None:
    save_policy(pair.policy, tmp_path)
    theirs, ours = load_file(pair.directory / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert theirs.keys() == ours.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def test_transformers_loads_our_checkpoint_and_computes_the_same_logits(pair, tmp_path) -> None:
    save_policy(pair.policy, tmp_path)
    model, report = Qwen2_5_VLForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    inputs = torch_inputs(make_prompt(pair.torch, SIZES))
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, pair.torch(**inputs).logits)


def test_bfloat16_weights_make_the_round_trip_bit_by_bit(tied_pair, tmp_path) -> None:
    half = load_policy(tied_pair.directory, jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {jnp.dtype(jnp.bfloat16)}
    save_policy(half, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    assert_same_weights(load_policy(tmp_path, jnp.bfloat16), half)
    mixed = load_policy(tmp_path, jnp.bfloat16, param_dtype=jnp.float32)
    assert mixed.text.embedding.dtype == jnp.float32 and mixed.text.dtype == jnp.bfloat16


def test_checkpoint_in_several_files_equals_one_file(pair, tmp_path) -> None:
    pair.torch.save_pretrained(tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert_same_weights(load_policy(tmp_path), pair.policy)
    lost = sorted(tmp_path.glob("*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(FileNotFoundError, match=lost.name):
        load_policy(tmp_path)


def test_tensor_names_of_transformers_in_memory_are_accepted(tied_pair, tmp_path) -> None:
    target = altered_copy(tied_pair.directory, tmp_path / "model")
    weights = load_file(target / "model.safetensors")
    renamed = {re.sub("^model.", "model.language_model.", name): value for name, value in weights.items()}
    renamed = {re.sub("^visual.", "model.visual.", name): value for name, value in renamed.items()}
    # A tied checkpoint may hold the embedding twice.
    renamed["lm_head.weight"] = weights["model.embed_tokens.weight"].copy()
    save_file(renamed, target / "model.safetensors")
    assert_same_weights(load_policy(target), tied_pair.policy)


def test_missing_extra_and_misshapen_tensors_are_named_in_one_error(tied_pair, tmp_path) -> None:
    target = altered_copy(
        tied_pair.directory,
        tmp_path / "model",
        model__norm__weight=None,
        visual__merger__ln_q__weight=None,
        model__layers__9__mlp__up_proj__weight=np.zeros(3, np.float32),
        visual__patch_embed__proj__weight=np.zeros((48, 1176), np.float32),
    )
    with pytest.raises(ValueError) as error:
        load_policy(target)
    assert "\n" not in str(error.value)
    for part in (
        "missing model.norm.weight (64,), visual.merger.ln_q.weight (48,)",
        "extra model.layers.9.mlp.up_proj.weight",
        "visual.patch_embed.proj.weight is (48, 1176), need (48, 3, 2, 14, 14)",
    ):
        assert part in str(error.value)


def test_directory_without_a_model_is_a_one_line_error(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        load_policy(tmp_path)


def test_our_config_json_equals_that_of_transformers(pair) -> None:
    theirs = json.loads((pair.directory / "config.json").read_text())
    ours = config_to_json(pair.policy.config, "float32")
    for part in ("text_config", "vision_config"):
        assert ours[part].items() <= theirs[part].items()
    top = {key: value for key, value in ours.items() if key not in ("text_config", "vision_config")}
    assert top.items() <= theirs.items()


def test_flat_config_json_published_by_qwen_is_read() -> None:
    """The published Qwen2.5-VL-3B config.json, in the style of 2025."""
    config = config_from_json(
        {
            "attention_dropout": 0.0,
            "bos_token_id": 151643,
            "eos_token_id": 151645,
            "vision_start_token_id": 151652,
            "vision_end_token_id": 151653,
            "vision_token_id": 151654,
            "image_token_id": 151655,
            "video_token_id": 151656,
            "hidden_act": "silu",
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "max_position_embeddings": 128000,
            "max_window_layers": 70,
            "model_type": "qwen2_5_vl",
            "num_attention_heads": 16,
            "num_hidden_layers": 36,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06,
            "rope_theta": 1000000.0,
            "sliding_window": 32768,
            "tie_word_embeddings": True,
            "use_sliding_window": False,
            "vision_config": {
                "depth": 32,
                "hidden_act": "silu",
                "hidden_size": 1280,
                "intermediate_size": 3420,
                "num_heads": 16,
                "in_chans": 3,
                "out_hidden_size": 2048,
                "patch_size": 14,
                "spatial_merge_size": 2,
                "spatial_patch_size": 14,
                "window_size": 112,
                "fullatt_block_indexes": [7, 15, 23, 31],
                "tokens_per_second": 2,
                "temporal_patch_size": 2,
            },
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
            "vocab_size": 151936,
        }
    )
    assert config.text == type(config.text)() and config.vision == type(config.vision)()
    assert config_from_json(config_to_json(config, "bfloat16")) == config


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"model_type": "qwen3_vl"}, "model_type is 'qwen3_vl', need 'qwen2_5_vl'"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not built here"),
        ({"use_sliding_window": True}, "use_sliding_window true is not built here"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 4.0}}, "rope type 'llama3' is not built here"),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, "rope type 'linear' is not built here"),
        ({"rope_scaling": {"type": "dynamic", "factor": 4.0}}, "rope type 'dynamic' is not built here"),
    ],
)
def test_config_with_unsupported_settings_is_refused(pair, change, line) -> None:
    values = config_to_json(pair.policy.config, "float32")
    target = values if "model_type" in change else values["text_config"]
    target.update(change)
    with pytest.raises(ValueError, match=line):
        config_from_json(values)
