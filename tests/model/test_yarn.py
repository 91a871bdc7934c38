"""YaRN: the frequencies, the attention factor and the logits of transformers, in every spelling of the setting."""

import json

import numpy as np
import pytest
import torch
from altered import copy_of
from small_models import SmallPrompt, batch
from test_transformers_parity import prompt_logits
from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextConfig

from mobile_r1_jax.model.checkpoints.huggingface import load_policy, save_policy
from mobile_r1_jax.model.checkpoints.json_section import Section
from mobile_r1_jax.model.config import TextConfig, VisionConfig, config_from_json, config_to_json
from mobile_r1_jax.model.inputs import Prompts, Screens
from mobile_r1_jax.model.yarn import read_yarn, yarn_frequencies

# The model card's, for a small model: prompts of up to 64 tokens in pretraining.
YARN = {"type": "yarn", "mrope_section": [2, 3, 3], "factor": 4, "original_max_position_embeddings": 64}
RENAMED = {"rope_type": "yarn", **{name: value for name, value in YARN.items() if name != "type"}}


def scaling(values: dict) -> None:
    values["text_config"].pop("rope_parameters")
    values["text_config"] |= {"rope_scaling": YARN, "rope_theta": 10_000.0}


def scaling_beside_parameters(values: dict) -> None:
    values["text_config"] |= {"rope_scaling": YARN | {"rope_theta": 10_000.0}}


def parameters(values: dict) -> None:
    values["text_config"]["rope_parameters"] = RENAMED | {"rope_theta": 10_000.0}


def both_names(values: dict) -> None:
    values["text_config"]["rope_parameters"] = RENAMED | {"type": "yarn", "rope_theta": 10_000.0}


def flat(values: dict) -> None:
    scaling(values)
    values |= values.pop("text_config") | {"model_type": "qwen2_5_vl"}


def all_settings(values: dict) -> None:
    values["text_config"]["rope_parameters"] = RENAMED | {
        "rope_theta": 10_000.0,
        "beta_fast": 8,
        "beta_slow": 2.0,
        "mscale": 0.7,
        "mscale_all_dim": 0.3,
        "truncate": False,
    }


def attention_factor(values: dict) -> None:
    values["text_config"]["rope_parameters"] = RENAMED | {"rope_theta": 10_000.0, "attention_factor": 1.5}


SPELLINGS = [scaling, scaling_beside_parameters, parameters, both_names, flat, all_settings, attention_factor]


def text_batch(ids: np.ndarray, positions: np.ndarray, config: VisionConfig) -> tuple[Screens, Prompts]:
    prompt = SmallPrompt(ids, positions, np.full(len(ids), -1, np.int32), (), ())
    return batch([prompt], config, length=len(ids))


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: spelling.__name__)
def test_logits_at_short_and_long_positions_equal_those_of_transformers(tied_pair, tmp_path, spelling) -> None:
    directory = copy_of(tied_pair.directory, tmp_path / "model", config=spelling)
    policy, model = load_policy(directory), Qwen2_5_VLForConditionalGeneration.from_pretrained(directory).eval()
    ids = np.random.default_rng(0).integers(0, 140, 300).astype(np.int32)  # longer than 4 * 64
    positions = np.tile(np.arange(300, dtype=np.int32), (3, 1))
    positions[1, 100:] += 7  # positions after a screen: the axes differ
    with torch.no_grad():
        expected = (
            model(
                input_ids=torch.tensor(ids[None], dtype=torch.long),
                position_ids=torch.tensor(positions[:, None]).long(),
            )
            .logits[0]
            .numpy()
        )
    logits = np.asarray(prompt_logits(policy, *text_batch(ids, positions, policy.config.vision))[0])
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    unscaled = np.asarray(prompt_logits(tied_pair.policy, *text_batch(ids, positions, policy.config.vision))[0])
    assert np.abs(logits - unscaled)[:32].max() > 1e-2 and np.abs(logits - unscaled)[-32:].max() > 0.05


@pytest.mark.parametrize("rope", [{}, {"factor": 2.5}, {"original_max_position_embeddings": 8192}, {"beta_fast": 64}])
def test_frequencies_of_the_published_width_equal_those_of_transformers(rope) -> None:
    """As Qwen's model card recommends for its 7B: 128 numbers a head, theta 1e6."""
    rope = {
        "type": "yarn",
        "mrope_section": [16, 24, 24],
        "factor": 4,
        "original_max_position_embeddings": 32768,
    } | rope
    text = {"hidden_size": 3584, "num_attention_heads": 28, "rope_theta": 1e6, "max_position_embeddings": 128_000}
    config = Qwen2_5_VLTextConfig(**text, rope_scaling=dict(rope))
    expected, factor = ROPE_INIT_FUNCTIONS["yarn"](config, None)
    yarn = read_yarn(Section(rope, ""), 128_000)
    unscaled = (1.0 / 1e6 ** (np.arange(0, 128, 2, dtype=np.float32) / 128)).astype(np.float32)
    np.testing.assert_allclose(yarn_frequencies(yarn, unscaled, 1e6), expected.numpy(), rtol=1e-6)
    assert yarn.attention_factor == pytest.approx(factor, rel=1e-12)


def test_missing_factor_is_the_ratio_of_the_lengths() -> None:
    yarn = read_yarn(Section({"type": "yarn", "original_max_position_embeddings": 1000}, ""), 3000)
    assert (yarn.factor, yarn.original_positions) == (3.0, 1000)
    assert read_yarn(Section({"type": "yarn", "factor": 2}, ""), 3000).original_positions == 3000


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: spelling.__name__)
def test_written_config_json_keeps_the_yarn_settings(tied_pair, tmp_path, spelling) -> None:
    directory = copy_of(tied_pair.directory, tmp_path / "model", config=spelling)
    policy = load_policy(directory)
    save_policy(policy, tmp_path / "like", like=directory)
    before, after = (json.loads((path / "config.json").read_text()) for path in (directory, tmp_path / "like"))
    assert after == before
    save_policy(policy, tmp_path / "own")
    assert load_policy(tmp_path / "own").config == policy.config
    theirs = AutoConfig.from_pretrained(tmp_path / "own").text_config.rope_parameters
    assert theirs["rope_type"] == "yarn" and theirs["factor"] == 4.0


def test_yarn_setting_ignored_by_transformers_is_refused(tied_pair) -> None:
    values = config_to_json(tied_pair.policy.config, "float32") | {"rope_scaling": YARN}
    with pytest.raises(ValueError, match="move it into text_config"):
        config_from_json(values)


def test_nothing_is_scaled_by_default() -> None:
    assert TextConfig().yarn is None and read_yarn(Section({"type": "mrope"}, ""), 8) is None
