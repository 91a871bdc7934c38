"""If config.json and the tensors disagree on tied embeddings, the tensors count, as in transformers."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from altered import copy_of
from flax import nnx
from small_models import SIZES, make_prompt
from test_lora import logits_of, torch_logits
from transformers import Qwen2_5_VLForConditionalGeneration

from mobile_r1_jax.model.checkpoints import stored_policy
from mobile_r1_jax.model.checkpoints.huggingface import load_policy, policy_config, save_policy, stored_weights

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def with_head(change: Callable) -> Callable:
    return lambda tensors: tensors | {HEAD: change(tensors[EMBEDDING].copy())}


def one_number_changed(head: np.ndarray) -> np.ndarray:
    head[-1, -1] += 1
    return head


def flag_inside(values: dict) -> None:
    values["text_config"]["tie_word_embeddings"] = values.pop("tie_word_embeddings")


def flag_twice(values: dict) -> None:
    values["text_config"]["tie_word_embeddings"], values["tie_word_embeddings"] = True, False


def flat(values: dict) -> None:
    values |= values.pop("text_config") | {"model_type": "qwen2_5_vl"}


@pytest.mark.parametrize("config", [None, flag_inside, flag_twice, flat], ids=["root", "inside", "twice", "flat"])
@pytest.mark.parametrize("head", [lambda head: head[::-1], one_number_changed], ids=["other", "one number"])
def test_stored_head_that_differs_from_the_embedding_is_loaded(tied_pair, tmp_path, config, head, monkeypatch) -> None:
    monkeypatch.setattr(stored_policy, "COMPARED_ROWS", 7)
    directory = copy_of(tied_pair.directory, tmp_path / "model", tensors=with_head(head), config=config)
    policy = load_policy(directory)
    assert not policy.config.text.tied and not policy_config(directory).text.tied
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(directory)
    prompt = make_prompt(tied_pair.torch, SIZES)
    np.testing.assert_allclose(logits_of(policy, prompt), torch_logits(model, prompt), atol=1e-4)

    save_policy(policy, tmp_path / "saved", like=directory)
    values = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert not values["tie_word_embeddings"] and not values.get("text_config", {}).get("tie_word_embeddings")
    np.testing.assert_array_equal(load_policy(tmp_path / "saved").text.head[...], policy.text.head[...])
    with stored_weights(directory) as read:
        np.testing.assert_array_equal(read("text.head", None), policy.text.head[...])


@pytest.mark.parametrize("embedding", [True, False], ids=["beside it", "in its place"])
def test_stored_head_that_equals_the_embedding_is_loaded_once(tied_pair, tmp_path, embedding) -> None:
    kept = set() if embedding else {EMBEDDING}
    directory = copy_of(
        tied_pair.directory,
        tmp_path / "model",
        tensors=lambda tensors: {n: v for n, v in with_head(lambda head: head)(tensors).items() if n not in kept},
    )
    policy = load_policy(directory)
    assert policy.config == tied_pair.policy.config
    for one, other in zip(*(nnx.to_flat_state(nnx.state(each)) for each in (policy, tied_pair.policy)), strict=True):
        np.testing.assert_array_equal(one[1][...], other[1][...])


def test_misshapen_and_missing_heads_are_one_line_errors(tied_pair, tmp_path) -> None:
    short = copy_of(tied_pair.directory, tmp_path / "short", tensors=with_head(lambda head: head[:-1]))
    with pytest.raises(ValueError, match=r"lm_head\.weight is \(159, 64\), need \(160, 64\)"):
        load_policy(short)
    none = copy_of(tied_pair.directory, tmp_path / "none", config=lambda values: values.pop("tie_word_embeddings"))
    with pytest.raises(ValueError, match=r"missing lm_head\.weight.*not tied \(tie_word_embeddings\)"):
        load_policy(none)
