"""Quantised checkpoints of every method and layout are refused in one short line that names the method."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from altered import Tensors, copy_of
from safetensors.torch import load_file, save_file

from mobile_r1_jax.model.checkpoints.huggingface import load_policy
from mobile_r1_jax.model.checkpoints.quantization import refuse_quantized


def refusal(directory: Path) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        load_policy(directory)
    said = str(error.value).replace(str(directory), "")
    assert "\n" not in said and len(said) < 400 and "quantised" in said
    return said


def linear_maps(tensors: Tensors) -> list[str]:
    return [name.removesuffix(".weight") for name in tensors if re.search(r"(_proj|qkv)\.weight$", name)]


def packed(*parts: str, dtype: str = "int32") -> object:
    """Replace each linear map by several tensors, as AWQ and GPTQ do."""

    def change(tensors: Tensors) -> Tensors:
        maps = linear_maps(tensors)
        kept = {name: value for name, value in tensors.items() if name.removesuffix(".weight") not in maps}
        return kept | {f"{name}.{part}": np.zeros((8, 8), dtype) for name in maps for part in parts}

    return change


def scaled(dtype: str, *scales: str) -> object:
    """Replace each linear map by numbers of the same shape in a small dtype, with scales."""

    def change(tensors: Tensors) -> Tensors:
        for name in linear_maps(tensors):
            tensors[f"{name}.weight"] = (tensors[f"{name}.weight"] * 100).astype(jnp.dtype(dtype))
            tensors |= {f"{name}.{scale}": np.ones(4, np.float32) for scale in scales}
        return tensors

    return change


def declared(**settings: object) -> object:
    return lambda values: values.update(quantization_config=settings)


CASES = {
    "awq": (packed("qweight", "qzeros", "scales"), declared(quant_method="awq", bits=4), "awq, 4 bits"),
    "awq undeclared": (packed("qweight", "qzeros", "scales"), None, "awq or gptq"),
    "gptq": (packed("qweight", "qzeros", "scales", "g_idx"), declared(quant_method="gptq", bits=8), "gptq, 8 bits"),
    "gptq undeclared": (packed("qweight", "qzeros", "scales", "g_idx"), None, "gptq; by its tensors"),
    "bitsandbytes 4": (None, declared(load_in_4bit=True, quant_method="bitsandbytes"), "bitsandbytes, 4 bits"),
    "bitsandbytes 4 undeclared": (packed("weight", "absmax", "quant_map", dtype="uint8"), None, "bitsandbytes, 4 bits"),
    "bitsandbytes 8": (scaled("int8", "SCB"), declared(load_in_8bit=True), "bitsandbytes, 8 bits"),
    "bitsandbytes 8 undeclared": (scaled("int8", "SCB"), None, "bitsandbytes, 8 bits"),
    "int8 alone": (scaled("int8"), None, "is stored as I8"),
    "fp8": (scaled("float32", "weight_scale_inv"), declared(quant_method="fp8"), "fp8; config.json"),
    "fp8 undeclared": (scaled("float32", "weight_scale_inv"), None, "fp8 or int8 with scales"),
    "compressed-tensors": (
        packed("weight_packed", "weight_scale", "weight_shape"),
        declared(quant_method="compressed-tensors", format="pack-quantized"),
        "compressed-tensors",
    ),
    "compressed-tensors undeclared": (packed("weight_packed", "weight_shape"), None, "compressed-tensors"),
    "old compressed-tensors": (
        None,
        lambda values: values.update(compression_config={"format": "int-quantized"}),
        "int-quantized; config.json: compression_config",
    ),
    "torchao": (None, declared(quant_method="torchao", quant_type={"default": {}}), "torchao"),
    "declared in text_config": (
        None,
        lambda values: values["text_config"].update(quantization_config={"quant_method": "quanto"}),
        "quanto; config.json: quantization_config",
    ),
    "hqq": (packed("W_q", "scale", "zero", dtype="uint8"), None, "hqq"),
    "aqlm": (packed("codes", "codebooks", "scales"), None, "aqlm"),
    "a method to come": (None, declared(quant_method="tomorrow", bits=2), "tomorrow, 2 bits"),
    "no method at all": (None, declared(group_size=128), "unknown method"),
}


@pytest.mark.parametrize("case", CASES)
def test_every_quantisation_method_is_a_one_line_error_that_names_it(tied_pair, tmp_path, case) -> None:
    tensors, config, named = CASES[case]
    said = refusal(copy_of(tied_pair.directory, tmp_path / "model", tensors=tensors, config=config))
    assert named in said and "give the checkpoint that it was made from" in said


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("quantize_config.json", {"bits": 4, "group_size": 128}, "gptq, 4 bits; quantize_config.json"),
        ("quant_config.json", {"w_bit": 4, "q_group_size": 128}, "awq, 4 bits; quant_config.json"),
        ("hf_quant_config.json", {"quantization": {"quant_algo": "FP8"}}, "modelopt; hf_quant_config.json"),
    ],
)
def test_quantisation_settings_outside_config_json_are_detected(tied_pair, tmp_path, name, content, named) -> None:
    assert named in refusal(copy_of(tied_pair.directory, tmp_path / "model", files={name: content}))


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "int8", "uint8", "int32"])
def test_small_dtype_alone_is_detected_as_quantisation(tied_pair, tmp_path, dtype) -> None:
    directory, name = copy_of(tied_pair.directory, tmp_path / "model"), "model.layers.0.mlp.up_proj.weight"
    tensors = load_file(directory / "model.safetensors")
    save_file(tensors | {name: tensors[name].to(getattr(torch, dtype))}, directory / "model.safetensors")
    assert re.search(rf"{re.escape(name)} is stored as [FIU]\d+", refusal(directory))


def test_gguf_file_alone_is_refused_with_its_name(tied_pair, tmp_path) -> None:
    files = {"model.safetensors": None, "model-q4_k_m.gguf": b"GGUF"}
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors.*but model-q4_k_m\.gguf"):
        load_policy(copy_of(tied_pair.directory, tmp_path / "model", files=files))


@pytest.mark.parametrize("empty", [None, {}, False])
def test_empty_declaration_and_plain_dtypes_are_not_quantisation(tied_pair, tmp_path, empty) -> None:
    dtypes = {"model.layers.0.self_attn.q_proj.weight": "BF16", "visual.blocks.0.norm1.weight": "F32", "a.bias": "F16"}
    refuse_quantized(tmp_path, {"quantization_config": empty}, dtypes)
    directory = copy_of(
        tied_pair.directory, tmp_path / "m", config=lambda values: values.update(quantization_config=empty)
    )
    assert load_policy(directory).config == tied_pair.policy.config
