"""The published sizes of Qwen2.5-VL, from their config.json alone, have the tensors of transformers."""

import json
from pathlib import Path

import pytest
import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from mobile_r1_jax.model.checkpoints.huggingface import parameter_shapes
from mobile_r1_jax.model.checkpoints.tensors import describe_mismatches, layout_of
from mobile_r1_jax.model.config import config_from_json, config_to_json

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "qwen2.5-vl"
# Parameters in the published safetensors; for 72B computed from its shapes.
PARAMETERS = {"3b": 3_754_622_976, "7b": 8_292_166_656, "32b": 33_452_718_336, "72b": 73_410_777_344}


def read(size: str) -> dict:
    return json.loads((CONFIGS / f"{size}.json").read_text())


@pytest.mark.parametrize("size", PARAMETERS)
def test_every_size_has_the_tensors_of_transformers_and_the_published_parameter_count(size) -> None:
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**read(size)))
    theirs = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    theirs = {name.replace("model.visual.", "visual.").replace("language_model.", ""): s for name, s in theirs.items()}
    config = config_from_json(read(size))
    shapes = parameter_shapes(config)
    assert describe_mismatches(theirs, {path: layout_of(path, shape, config) for path, shape in shapes.items()}) == []
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[size]


@pytest.mark.parametrize("size", PARAMETERS)
def test_config_json_of_every_size_survives_reading_and_writing(size) -> None:
    config = config_from_json(read(size))
    assert config_from_json(config_to_json(config, "bfloat16")) == config
    assert config.text.tied == (size == "3b") and config.text.head_width == 128


def test_missing_fields_of_a_vision_config_have_the_defaults_of_transformers() -> None:
    """The config.json of Qwen2.5-VL-32B was published like this."""
    values = read("32b")
    named = ("hidden_size", "in_chans", "intermediate_size", "out_hidden_size", "spatial_patch_size")
    short = {**values, "vision_config": {key: values["vision_config"][key] for key in named}}
    assert config_from_json(short) == config_from_json(values)
