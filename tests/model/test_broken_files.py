"""Truncated, empty and missing files and wrong fields are one-line errors with the file's name."""

import json
from pathlib import Path
from typing import Any

import pytest
from altered import copy_of, load_weights
from small_models import save_torch_model

from mobile_r1_jax.model.checkpoints.huggingface import load_policy, policy_config
from mobile_r1_jax.model.checkpoints.safetensors_files import join_names


def refusal(directory: Path) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        load_policy(directory)
    said = str(error.value)
    assert "\n" not in said and str(directory) in said and len(said.replace(str(directory), "")) < 800
    return said


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 5000, -1], ids=lambda kept: f"{kept} bytes")
def test_truncated_safetensors_file_is_reported_with_its_size(tied_pair, tmp_path, kept) -> None:
    whole = (tied_pair.directory / "model.safetensors").read_bytes()
    directory = copy_of(tied_pair.directory, tmp_path / "model", files={"model.safetensors": whole[:kept]})
    assert f"model.safetensors ({len(whole[:kept])} bytes) is not a complete safetensors file" in refusal(directory)


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\n", b"<html>404</html>", bytes(64)])
def test_file_of_another_format_is_reported_as_not_safetensors(tied_pair, tmp_path, content) -> None:
    directory = copy_of(tied_pair.directory, tmp_path / "model", files={"model.safetensors": content})
    assert "is not a complete safetensors file" in refusal(directory)


def test_one_truncated_file_of_several_is_named(tied_pair, tmp_path) -> None:
    directory = save_torch_model(tied_pair.torch, tmp_path / "model", max_shard_size="200KB")
    cut = sorted(directory.glob("*.safetensors"))[1]
    cut.write_bytes(cut.read_bytes()[:-7])
    assert f"{cut.name} (" in refusal(directory)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not valid JSON"),
        ('{"metadata": {"total_size": 1}, "weight_m', "is not valid JSON"),
        ({"metadata": {}}, "weight_map is missing"),
        ({"weight_map": ["a"]}, "weight_map is ['a'], need an object"),
        ({"weight_map": {"a": "model-00001-of-00009.safetensors"}}, "no model-00001-of-00009.safetensors, named by"),
    ],
)
def test_broken_index_is_reported_with_its_name(tied_pair, tmp_path, content, said) -> None:
    files = {"model.safetensors": None, "model.safetensors.index.json": content}
    printed = refusal(copy_of(tied_pair.directory, tmp_path / "model", files=files))
    assert said in printed and "model.safetensors.index.json" in printed


def test_list_of_missing_files_is_cut_after_five_with_a_count(tied_pair, tmp_path) -> None:
    places = {f"tensor{n}": f"model-{n:05d}-of-00012.safetensors" for n in range(1, 13)}
    files = {"model.safetensors": None, "model.safetensors.index.json": {"weight_map": places}}
    said = refusal(copy_of(tied_pair.directory, tmp_path / "model", files=files))
    assert "model-00005-of-00012.safetensors and 7 more" in said and "00006-of" not in said


def test_lists_of_tensors_are_cut_after_five_with_a_count(tied_pair, tmp_path) -> None:
    strange = {f"strange{n}": value for n, value in enumerate(load_weights(tied_pair.directory).values())}
    said = refusal(copy_of(tied_pair.directory, tmp_path / "model", tensors=lambda tensors: strange))
    assert said.count("missing") == 1 and said.count("and 75 more") == 2
    assert (join_names(list("abcde")), join_names(list("abcdef"))) == ("a, b, c, d, e", "a, b, c, d, e and 1 more")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "config.json is not valid JSON"),
        ('{"model_type": "qwen2_5_vl", "text_co', "config.json is not valid JSON"),
        ("[1, 2]", "config.json holds a list, need a JSON object"),
        (b"\x80\x81", "config.json is not valid JSON"),
        ("\ufeff{}", "config.json is not valid JSON"),
    ],
)
def test_broken_config_json_is_reported_with_its_name(tied_pair, tmp_path, content, said) -> None:
    assert said in refusal(copy_of(tied_pair.directory, tmp_path / "model", files={"config.json": content}))


def test_directory_in_place_of_a_file_is_reported(tied_pair, tmp_path) -> None:
    directory = copy_of(tied_pair.directory, tmp_path / "model", files={"generation_config.json": None})
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors").mkdir()
    assert "no model.safetensors and no model.safetensors.index.json, but model.safetensors" in refusal(directory)


def without(*path: str) -> Any:
    def change(values: dict) -> None:
        for name in path[:-1]:
            values = values[name]
        values.pop(path[-1])

    return change


def with_value(value: Any, *path: str) -> Any:
    def change(values: dict) -> None:
        for name in path[:-1]:
            values = values[name]
        values[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (without("vision_config"), "vision_config is missing"),
        (without("text_config"), "num_attention_heads is missing"),
        (without("text_config", "hidden_size"), "text_config.hidden_size is missing"),
        (without("vision_config", "out_hidden_size"), "vision_config.out_hidden_size is missing"),
        (with_value("64", "text_config", "hidden_size"), "text_config.hidden_size is '64', need a whole number"),
        (with_value(0, "text_config", "num_attention_heads"), "text_config.num_attention_heads is 0, need a whole"),
        (with_value(True, "text_config", "vocab_size"), "text_config.vocab_size is True, need a whole number"),
        (with_value([14, 14], "vision_config", "patch_size"), "vision_config.patch_size is [14, 14], need a whole"),
        (with_value(["a"], "vision_config", "fullatt_block_indexes"), "fullatt_block_indexes is ['a'], need a list"),
        (with_value("mrope", "text_config", "rope_scaling"), "text_config.rope_scaling is 'mrope', need an object"),
        (with_value([1], "text_config"), "text_config is [1], need an object"),
    ],
)
def test_missing_section_and_wrong_field_are_named(tied_pair, tmp_path, config, said) -> None:
    printed = refusal(copy_of(tied_pair.directory, tmp_path / "model", config=config))
    assert "config.json: " in printed and said in printed


def test_reading_the_config_alone_makes_the_same_checks(tied_pair, tmp_path) -> None:
    directory = copy_of(tied_pair.directory, tmp_path / "model", files={"model.safetensors": b""})
    with pytest.raises(ValueError, match="0 bytes"):
        policy_config(directory)
    assert json.loads((directory / "config.json").read_text())
