"""Log-probabilities and entropies of tokens, whole or in chunks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mobile_r1_jax.model import logps as logps_module
from mobile_r1_jax.model.config import PolicyConfig, TextConfig, VisionConfig
from mobile_r1_jax.model.logps import token_logps
from mobile_r1_jax.model.policy import Policy

VOCAB, WIDTH, SHAPE = 500, 16, (2, 3, 11)


@pytest.fixture(scope="module")
def policy() -> Policy:
    text = TextConfig(VOCAB, WIDTH, feed_forward=8, layers=1, heads=1, kv_heads=1, mrope_section=(2, 3, 3))
    vision = VisionConfig(width=8, feed_forward=8, layers=1, heads=1, out_width=WIDTH)
    return Policy(PolicyConfig(text, vision), rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def tokens() -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    return jnp.asarray(20 * rng.normal(size=(*SHAPE, WIDTH)), jnp.float32), jnp.asarray(rng.integers(5, VOCAB, SHAPE))


def test_log_probabilities_are_the_tempered_softmax_without_forbidden_ids(policy, tokens) -> None:
    hidden, ids = tokens
    logps, entropies = token_logps(policy, hidden, ids, temperature=0.7, forbidden=(0, 3))
    logits = np.asarray(hidden, np.float64) @ np.asarray(policy.text.embedding[...], np.float64).T / 0.7
    logits[..., [0, 3]] = -np.inf
    probabilities = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities /= probabilities.sum(-1, keepdims=True)
    chosen = np.take_along_axis(probabilities, np.asarray(ids)[..., None], -1)[..., 0]
    np.testing.assert_allclose(logps, np.log(chosen), atol=1e-5)
    terms = np.where(probabilities > 0, probabilities * np.log(np.maximum(probabilities, 1e-300)), 0)
    np.testing.assert_allclose(entropies, -terms.sum(-1), atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 4, 33])
def test_chunks_change_neither_values_nor_gradients(policy, tokens, chunk, monkeypatch) -> None:
    hidden, ids = tokens
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(2, *SHAPE)))

    def total(hidden: jax.Array) -> tuple[jax.Array, jax.Array]:
        both = jnp.stack(token_logps(policy, hidden, ids, forbidden=(0,)))
        return jnp.sum(weights * both), both

    (_, whole), expected = jax.value_and_grad(total, has_aux=True)(hidden)
    monkeypatch.setattr(logps_module, "CHUNK_LOGITS", chunk * SHAPE[0] * VOCAB)
    (_, chunked), gradient = jax.value_and_grad(total, has_aux=True)(hidden)
    np.testing.assert_allclose(chunked, whole, atol=1e-5)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_no_array_holds_the_logits_of_all_tokens_in_either_pass(policy, tokens, monkeypatch) -> None:
    hidden, ids = tokens
    monkeypatch.setattr(logps_module, "CHUNK_LOGITS", 2 * SHAPE[0] * VOCAB)
    program = jax.jit(jax.grad(lambda hidden: token_logps(policy, hidden, ids)[0].sum())).lower(hidden).compile()
    largest_chunk = 2 * SHAPE[0] * VOCAB * 4
    assert program.memory_analysis().temp_size_in_bytes < 5 * largest_chunk < ids.size * VOCAB * 4


def test_leading_shape_is_kept(policy, tokens) -> None:
    hidden, ids = tokens
    flat, _ = token_logps(policy, hidden.reshape(-1, WIDTH), ids.reshape(-1))
    logps, entropies = token_logps(policy, hidden, ids)
    assert logps.shape == entropies.shape == SHAPE
    np.testing.assert_allclose(flat, logps.reshape(-1), rtol=1e-6)


def test_ids_of_padding_may_be_forbidden_and_leave_the_gradient_finite(policy, tokens) -> None:
    hidden, ids = tokens
    mask = ids > 250

    def total(hidden: jax.Array) -> jax.Array:
        logps, _ = token_logps(policy, hidden, jnp.where(mask, ids, 0), forbidden=(0,))
        return jnp.sum(jnp.where(mask, logps, 0))

    assert np.isfinite(jax.grad(total)(hidden)).all()
