"""Weights in bfloat16 learn from updates that rounding to the nearest would lose."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import OPTIMIZER, make_batch, make_bfloat16_state, make_state

from mobile_r1_jax.rl import Likelihood, Totals
from mobile_r1_jax.training.optimizer import make_optimizer
from mobile_r1_jax.training.optimizer_settings import OptimizerSettings
from mobile_r1_jax.training.rounding import round_like, round_stochastically
from mobile_r1_jax.training.step import StepSettings, train_step, update_program


def test_stochastic_rounding_gives_a_neighbour_and_is_unbiased() -> None:
    x = np.float32([1.001, -1.001, 3e-3, -7e4, 1 + 2**-8, 1e-37])
    keys = jax.random.split(jax.random.key(0), 4096)
    rounded = np.asarray(jax.vmap(lambda key: round_stochastically(jnp.asarray(x), key))(keys), np.float32)
    for number, drawn in zip(x, rounded.T, strict=True):
        below, above = np.unique(drawn)
        assert below < number < above
        assert np.float32(jnp.nextafter(jnp.bfloat16(below), jnp.bfloat16(above))) == above
        share = (number - below) / (above - below)
        deviation = (share * (1 - share) / len(drawn)) ** 0.5
        assert (drawn == above).mean() == pytest.approx(float(share), abs=4 * float(deviation))


def test_exact_bfloat16_and_non_finite_numbers_stay_unchanged() -> None:
    x = jnp.array([0.0, 1.0, -0.00390625, jnp.inf, -jnp.inf, jnp.nan], jnp.float32)
    for seed in range(20):
        rounded = round_stochastically(x, jax.random.key(seed))
        assert rounded.dtype == jnp.bfloat16
        np.testing.assert_array_equal(rounded.astype(jnp.float32), x)


def test_every_leaf_has_its_own_noise_and_float32_is_not_rounded() -> None:
    old = {"a": jnp.ones(64, jnp.bfloat16), "b": jnp.ones(64, jnp.bfloat16), "c": jnp.ones(64)}
    new = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 1.003), old)
    held = round_like(new, old, jax.random.key(0))
    assert {name: leaf.dtype.name for name, leaf in held.items()} == {"a": "bfloat16", "b": "bfloat16", "c": "float32"}
    assert (held["a"] != held["b"]).any() and (held["c"] == new["c"]).all()


def test_updates_too_small_for_nearest_rounding_arrive_on_average() -> None:
    """A hundred updates of 1e-4 on weights of 1, whose nearest neighbours are 0.0039 and 0.0078 away."""
    settings, updates = OptimizerSettings(learning_rate=1e-4), 100
    weights = {"kernel": jnp.ones(4096, jnp.bfloat16)}
    gradients = ({"kernel": jnp.full(4096, 0.01, jnp.bfloat16)}, {"loss": jnp.float32(1)})
    core = (jnp.int32(0), weights, make_optimizer(settings).init(weights))
    structure, update = jax.tree.structure(core), update_program((None,) * len(jax.tree.leaves(core)))
    nearest = weights["kernel"]
    for _ in range(updates):
        nearest = (nearest.astype(jnp.float32) - 1e-4).astype(jnp.bfloat16)
        totals = Totals(jnp.float32(1), jnp.float32(1))
        leaves, _ = update(core, gradients, totals, jax.random.key(0), settings=settings)
        core = jax.tree.unflatten(structure, leaves)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(core[1])} == {"bfloat16"}
    assert (nearest == 1).all()
    assert 1 - np.asarray(core[1]["kernel"], np.float32).mean() == pytest.approx(updates * 1e-4, rel=0.05)


@pytest.mark.slow
def test_bfloat16_finetuning_learns_like_float32_at_a_rate_lost_by_nearest_rounding() -> None:
    settings = StepSettings(Likelihood(), replace(OPTIMIZER, learning_rate=1e-4, first_moment="bfloat16"))
    batch = make_batch(2)
    golden = replace(batch, completions=replace(batch.completions, advantages=np.ones((2, 3), np.float32)))
    fallen = {}
    for name, make in (("float32", make_state), ("bfloat16", make_bfloat16_state)):
        state, losses = make(optimizer=settings.optimizer), []
        for _ in range(30):
            state, metrics = train_step(state, golden, settings=settings)
            losses.append(float(metrics["loss"]))
        fallen[name] = losses[0] - losses[-1]
        floats = [leaf for leaf in jax.tree.leaves((state.trained, state.optimizer)) if leaf.ndim]
        assert {leaf.dtype.name for leaf in floats} <= {name, "bfloat16"}
    assert fallen["float32"] > 0.02
    assert fallen["bfloat16"] == pytest.approx(fallen["float32"], rel=0.1)
