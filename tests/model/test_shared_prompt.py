"""A prompt computed once for its group equals the repeated prompt, in losses and gradients."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_models import SIZES, batch, make_prompt

from mobile_r1_jax.model.inputs import Prompts, Screens
from mobile_r1_jax.model.logps import token_logps
from mobile_r1_jax.model.policy import Policy

GROUP, TOKENS = 3, 7


@pytest.fixture(scope="module")
def inputs(tied_pair) -> tuple[Screens, Prompts, jax.Array, jax.Array, jax.Array]:
    """Two prompts of different lengths, a group of three completions each, of different lengths, and token weights."""
    prompts = [make_prompt(tied_pair.torch, sizes, seed=seed) for seed, sizes in enumerate((SIZES, SIZES[:1]))]
    rng = np.random.default_rng(3)
    mask = np.arange(TOKENS) < rng.integers(2, TOKENS + 1, (2, GROUP, 1))
    ids = np.where(mask, rng.integers(0, 140, mask.shape), 0)
    weights = np.where(mask, rng.normal(size=mask.shape), 0)
    return *batch(prompts, tied_pair.policy.config.vision), jnp.asarray(ids), jnp.asarray(mask), jnp.asarray(weights)


def weighted_loss(
    policy: Policy, screens: Screens, prompts: Prompts, ids: jax.Array, mask: jax.Array, weights: jax.Array
) -> jax.Array:
    hidden = policy.completion_hidden(screens, prompts, ids, mask)
    return jnp.sum(jnp.where(mask, token_logps(policy, hidden, ids)[0], 0) * weights)


value_and_grad = jax.jit(jax.value_and_grad(weighted_loss))


def assert_same(ours: tuple[jax.Array, Policy], theirs: tuple[jax.Array, Policy]) -> None:
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
    pairs = zip(*(nnx.to_flat_state(nnx.state(policy)) for _, policy in (ours, theirs)), strict=True)
    for (path, one), (_, other) in pairs:
        scale = float(jnp.abs(other.get_value()).max())
        assert scale > 0, path
        np.testing.assert_allclose(one.get_value(), other.get_value(), atol=1e-5 * scale, err_msg=str(path))


@pytest.fixture(scope="module")
def shared(tied_pair, inputs) -> tuple[jax.Array, Policy]:
    return value_and_grad(tied_pair.policy, *inputs)


def test_loss_and_gradients_equal_those_of_repeated_prompts(tied_pair, inputs, shared) -> None:
    screens, prompts, *completions = inputs
    repeated = jax.tree.map(lambda x: np.repeat(x, GROUP, axis=0), replace(prompts, positions=prompts.ids))
    repeated = replace(repeated, positions=np.repeat(prompts.positions, GROUP, axis=1))
    flat = [x.reshape(2 * GROUP, 1, TOKENS) for x in completions]
    assert_same(shared, value_and_grad(tied_pair.policy, screens, repeated, *flat))


def test_rematerialisation_changes_no_gradient(tied_pair, inputs, shared) -> None:
    policy = nnx.clone(tied_pair.policy)
    policy.text.remat, policy.vision.remat = "full", "matmuls"
    _, gradients = ours = value_and_grad(policy, *inputs)
    gradients.text.remat = gradients.vision.remat = "none"
    assert_same(ours, shared)


def test_padding_of_prompts_and_completions_has_no_effect(tied_pair, inputs, shared) -> None:
    screens, prompts, ids, mask, weights = inputs
    garbage = np.random.default_rng(5).integers(0, 140, prompts.ids.shape)
    prompts = replace(prompts, ids=np.where(prompts.mask, prompts.ids, garbage))
    value, _ = value_and_grad(tied_pair.policy, screens, prompts, jnp.where(mask, ids, -100), mask, weights)
    np.testing.assert_allclose(value, shared[0], rtol=1e-6)


def test_completion_attends_to_neither_siblings_nor_later_tokens(tied_pair, inputs) -> None:
    screens, prompts, ids, mask, _ = inputs
    mask = jnp.ones_like(mask)
    hidden = jax.jit(Policy.completion_hidden)
    before = hidden(tied_pair.policy, screens, prompts, ids, mask)
    after = hidden(tied_pair.policy, screens, prompts, ids.at[0, 1, 3].add(1), mask)
    changed = np.abs(np.asarray(after - before)).max(-1) > 1e-6
    expected = np.zeros_like(changed)
    expected[0, 1, 4:] = True  # the states from 4 on have attended to token 3
    np.testing.assert_array_equal(changed, expected)


def test_unknown_remat_policy_error_names_the_known_policies(tied_pair, inputs) -> None:
    policy = nnx.clone(tied_pair.policy)
    policy.text.remat = "some"
    with pytest.raises(ValueError, match="'some' is unknown, choose one of none, matmuls, full"):
        jax.eval_shape(Policy.completion_hidden, policy, *inputs[:4])


def test_bfloat16_is_never_promoted_and_its_logits_stay_close(tied_pair, inputs) -> None:
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), tied_pair.policy)
    half.text.dtype = half.vision.dtype = jnp.bfloat16
    hidden = jax.jit(Policy.completion_hidden)
    ours = hidden(half, *inputs[:4])
    assert ours.dtype == jnp.bfloat16 and half.text.logits(ours).dtype == jnp.float32
    theirs = tied_pair.policy.text.logits(hidden(tied_pair.policy, *inputs[:4]))
    assert jnp.abs(half.text.logits(ours) - theirs).mean() < 0.05 * jnp.abs(theirs).mean()
