"""Before anything expensive starts, the tokenizer is compared with config.json and stop tokens are read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from altered import copy_of
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

from mobile_r1_jax.model.checkpoints.model_directory import find_model
from mobile_r1_jax.model.tokenizer import load_tokenizer

TINY_BASE = Path(__file__).resolve().parents[2] / "assets" / "tiny-base"


def refusal(directory: Path) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        load_tokenizer(directory)
    said = str(error.value)
    assert "\n" not in said and len(said) < 400 + len(str(directory)) and str(directory) in said
    return said


def in_text(**fields: Any) -> Callable[[dict], None]:
    return lambda values: values["text_config"].update(fields)


def flat(values: dict) -> None:
    values |= values.pop("text_config") | {"model_type": "qwen2_5_vl"}


def test_tokenizer_of_the_shipped_policy_fits_its_config() -> None:
    assert len(load_tokenizer(TINY_BASE)) == 1061


@pytest.mark.parametrize("vocab", [1060, 1000, 7])
def test_tokenizer_with_more_tokens_than_embedding_rows_is_refused(tmp_path, vocab) -> None:
    directory = copy_of(TINY_BASE, tmp_path / "policy", config=in_text(vocab_size=vocab))
    assert f"ids up to 1060, but config.json has a vocab_size of {vocab}" in refusal(directory)


def test_added_token_without_an_embedding_row_is_refused(tmp_path) -> None:
    directory = copy_of(TINY_BASE, tmp_path / "policy", config=in_text(vocab_size=1061))
    tokenizer = AutoTokenizer.from_pretrained(directory)
    assert len(load_tokenizer(directory)) == 1061
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(directory)
    assert "ids up to 1061" in refusal(directory)


@pytest.mark.parametrize("token", ["image", "video", "vision_start", "vision_end"])
def test_special_token_with_another_id_than_in_config_json_is_refused(tmp_path, token) -> None:
    directory = copy_of(TINY_BASE, tmp_path / "policy", config=lambda values: values.update({f"{token}_token_id": 500}))
    said = refusal(directory)
    assert "config.json has" in said and "500: this is the tokenizer of another model" in said


def test_ids_missing_in_config_json_have_published_values(tmp_path) -> None:
    assert "id 6, but config.json has image_token_id 151655" in refusal(
        copy_of(TINY_BASE, tmp_path / "policy", config=lambda values: values.pop("image_token_id"))
    )


@pytest.mark.parametrize(
    "token",
    [
        "<|image_pad|>",
        "<|video_pad|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
    ],
)
def test_a_missing_special_token_is_named(tmp_path, token) -> None:
    text = {
        name: (TINY_BASE / name).read_text().replace(token, "<|other|>")
        for name in ("tokenizer.json", "tokenizer_config.json")
    }
    assert f"lacks {token}" in refusal(copy_of(TINY_BASE, tmp_path / "policy", files=text))


EOS = {
    "only in generation_config.json": ({"eos_token_id": [2, 0]}, in_text(eos_token_id=None), (2, 0)),
    "generation_config.json wins": ({"eos_token_id": 2}, in_text(eos_token_id=0), (2,)),
    "only in text_config": (None, in_text(eos_token_id=[2, 0]), (2, 0)),
    "root wins over text_config": (None, lambda values: values.update(eos_token_id=[0, 2]), (0, 2)),
    "only in a flat config.json": (None, flat, (2,)),
}


@pytest.mark.parametrize("where", EOS)
def test_stop_tokens_equal_those_of_transformers_in_every_file(tmp_path, where) -> None:
    generation, config, expected = EOS[where]
    directory = copy_of(TINY_BASE, tmp_path / "policy", config=config, files={"generation_config.json": generation})
    assert find_model(directory).config().eos == expected and load_tokenizer(directory)
    theirs = Qwen2_5_VLForConditionalGeneration.from_pretrained(directory).generation_config.eos_token_id
    assert (theirs if isinstance(theirs, list) else [theirs]) == list(expected)


@pytest.mark.parametrize(
    ("generation", "config", "named"),
    [
        (None, in_text(eos_token_id=None), "none"),
        (None, in_text(eos_token_id=0), "0"),
        ({"eos_token_id": [0, 1]}, None, "0, 1"),
        ({"eos_token_id": 151643}, None, "151643"),
        ({"pad_token_id": 0}, in_text(eos_token_id=[]), "none"),
    ],
)
def test_policy_whose_turn_end_is_not_a_stop_token_is_refused(tmp_path, generation, config, named) -> None:
    directory = copy_of(TINY_BASE, tmp_path / "policy", config=config, files={"generation_config.json": generation})
    said = refusal(directory)
    assert "<|im_end|> (2), which ends a turn, is not a stop token" in said and f"(eos_token_id: {named})" in said
    assert ("in generation_config.json" if generation else "in config.json") in said


@pytest.mark.parametrize("value", ["2", [2, "x"], True, -1, {"id": 2}])
def test_stop_tokens_that_are_not_ids_are_refused(tmp_path, value) -> None:
    directory = copy_of(TINY_BASE, tmp_path / "policy", files={"generation_config.json": {"eos_token_id": value}})
    assert "generation_config.json: eos_token_id is" in refusal(directory)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"tokenizer.json": None, "tokenizer_config.json": None}, "no tokenizer (tokenizer.json, or vocab.json"),
        ({"tokenizer.json": None}, "no tokenizer (tokenizer.json, or vocab.json"),
        ({"tokenizer.json": ""}, "tokenizer.json is not valid JSON"),
        ({"tokenizer.json": (TINY_BASE / "tokenizer.json").read_bytes()[:4000]}, "tokenizer.json is not valid JSON"),
        ({"tokenizer.json": "[]"}, "tokenizer.json holds a list"),
        ({"tokenizer.json": "{}"}, "the tokenizer does not load"),
        ({"tokenizer_config.json": b"\xff\xfe{"}, "tokenizer_config.json is not valid JSON"),
        ({"generation_config.json": "{"}, "generation_config.json is not valid JSON"),
    ],
)
def test_missing_and_broken_files_are_one_line_errors_with_their_name(tmp_path, files, said) -> None:
    assert said in refusal(copy_of(TINY_BASE, tmp_path / "policy", files=files))


def test_tokenizer_in_vocab_and_merges_files_is_loaded(tmp_path) -> None:
    """vocab.json and merges.txt, which Qwen published in addition to tokenizer.json."""
    made = json.loads((TINY_BASE / "tokenizer.json").read_text())
    merges = "\n".join(" ".join(pair) for pair in made["model"]["merges"])
    files = {"tokenizer.json": None, "vocab.json": made["model"]["vocab"], "merges.txt": f"#version: 0.2\n{merges}\n"}
    config = json.loads((TINY_BASE / "tokenizer_config.json").read_text()) | {"tokenizer_class": "Qwen2Tokenizer"}
    directory = copy_of(TINY_BASE, tmp_path / "policy", files=files | {"tokenizer_config.json": config})
    assert load_tokenizer(directory).convert_tokens_to_ids("<|im_end|>") == 2
