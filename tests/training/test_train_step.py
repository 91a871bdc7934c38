import logging
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run
from flax import nnx
from tiny_run import OPTIMIZER, SETTINGS, make_adapted_state, make_batch, make_policy, make_state

from mobile_r1_jax.rl import GRPO, Likelihood
from mobile_r1_jax.training.state import create_state, reference_policy
from mobile_r1_jax.training.step import Batch, StepSettings, completion_logps, train_step


def rows_of(batch: Batch, rows: slice) -> Batch:
    """Return some rows of a batch with all of its screens."""
    prompts = replace(jax.tree.map(lambda a: a[rows], batch.prompts), positions=batch.prompts.positions[:, rows])
    return replace(batch, prompts=prompts, completions=jax.tree.map(lambda a: a[rows], batch.completions))


def leaves_equal(a: object, b: object) -> list[bool]:
    return jax.tree.leaves(jax.tree.map(lambda x, y: bool(jnp.all(x == y)), a, b))


def test_trained_parts_change_and_frozen_parts_have_no_updates_and_no_optimizer_state() -> None:
    before = make_state()
    trained, frozen = jax.device_get((before.trained, before.frozen))
    after, _ = train_step(before, make_batch(0), settings=SETTINGS)
    assert not any(leaves_equal(trained, after.trained))
    assert all(leaves_equal(frozen, after.frozen))
    assert set(after.trained) == {"text"}
    assert set(after.frozen) == {"vision"}
    assert "vision" not in str(jax.tree_util.tree_structure(after.optimizer))
    assert int(after.step) == 1


def test_only_adapters_change_and_have_optimizer_state() -> None:
    before = make_adapted_state()
    trained, frozen = jax.device_get((before.trained, before.frozen))
    after, _ = train_step(before, make_batch(0), settings=SETTINGS)
    after, _ = train_step(after, make_batch(1), settings=SETTINGS)  # A changes once B is not zero
    assert not any(leaves_equal(trained, after.trained))
    assert all(leaves_equal(frozen, after.frozen))
    assert {str(path[-1]) for path, _ in nnx.to_flat_state(after.trained)} == {"a", "b"}
    assert {path[0] for path, _ in nnx.to_flat_state(after.frozen)} == {"text", "vision"}
    learn = sum(leaf.size for leaf in jax.tree.leaves(after.trained))
    assert sum(leaf.size for leaf in jax.tree.leaves(after.optimizer)) == 2 * learn + 2  # moments, and two counts


def test_reference_of_adapters_shares_the_base_and_does_not_change() -> None:
    state = make_adapted_state()
    state, _ = train_step(state, make_batch(0), settings=SETTINGS)
    reference = reference_policy(state)
    expected = completion_logps(reference, make_batch(1))[0]
    base = state.policy.text.layers.q.kernel[...]
    state, _ = train_step(state, make_batch(1), settings=SETTINGS)
    assert reference.text.layers.q.kernel[...] is base is state.policy.text.layers.q.kernel[...]
    np.testing.assert_array_equal(completion_logps(reference, make_batch(1))[0], expected)
    assert (np.asarray(completion_logps(state.policy, make_batch(1))[0]) != expected).any()


def test_trained_parameters_are_donated_and_frozen_parts_and_reference_are_not() -> None:
    state = make_state()
    reference = reference_policy(state)
    expected = completion_logps(reference, make_batch(1))[0]
    after, _ = train_step(state, make_batch(0), settings=SETTINGS)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.trained, state.optimizer, state.step)))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((after.frozen, reference)))
    np.testing.assert_array_equal(completion_logps(reference, make_batch(1))[0], expected)


def test_completions_with_positive_advantage_become_more_likely_and_others_less() -> None:
    batch = make_batch(0)
    signs = np.array([[1, -1, 1], [-1, 1, -1]], np.float32)
    batch = replace(batch, completions=replace(batch.completions, advantages=signs))
    state = make_state()
    before = completion_logps(state.policy, batch)[0]
    for _ in range(4):
        state, _ = train_step(state, batch, settings=SETTINGS)
    change = np.where(batch.completions.mask, completion_logps(state.policy, batch)[0] - before, 0).sum(-1)
    np.testing.assert_array_equal(np.sign(change), signs)


@pytest.mark.parametrize(
    ("make", "rate", "fall"),
    [(make_state, 3e-3, 0.5), (make_adapted_state, 1e-2, 0.3)],  # adapters leave the small embedding small
    ids=["weights", "adapters"],
)
def test_finetuning_makes_the_golden_completion_likely(make, rate, fall) -> None:
    batch = make_batch(2)
    golden = replace(batch.completions, advantages=np.ones((2, 3), np.float32))
    settings = StepSettings(Likelihood(), replace(OPTIMIZER, learning_rate=rate))
    state, losses = make(optimizer=settings.optimizer), []
    for _ in range(20):
        state, metrics = train_step(state, replace(batch, completions=golden), settings=settings)
        losses.append(float(metrics["loss"]))
    assert losses[0] == pytest.approx(np.log(tiny_run.CONFIG.text.vocab), abs=0.1)
    assert losses[-1] < losses[0] - fall


def test_micro_batches_give_the_update_of_the_whole_batch() -> None:
    batch = make_batch(3)
    whole, metrics = train_step(make_state(), batch, settings=SETTINGS)
    micro = (rows_of(batch, slice(0, 1)), rows_of(batch, slice(1, 2)))
    parts, summed = train_step(make_state(), *micro, settings=SETTINGS)
    assert metrics.keys() == summed.keys()
    for name, value in metrics.items():
        np.testing.assert_allclose(summed[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    moments = jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), whole.optimizer, parts.optimizer
    )
    assert jax.tree.leaves(moments) == []


def test_kl_to_the_reference_starts_at_zero_and_grows_with_the_first_update() -> None:
    settings = StepSettings(GRPO(beta=0.1), OPTIMIZER, temperature=0.7, forbidden=(60, 61))
    state = make_state()
    reference = reference_policy(state)
    kls = []
    for seed in range(2):
        batch = make_batch(seed)
        logps, _ = completion_logps(reference, batch, temperature=settings.temperature, forbidden=settings.forbidden)
        # The reference is the sampling policy, so its log-probabilities equal the sampler's, temperature included.
        completions = replace(batch.completions, logps=logps)
        state, metrics = train_step(state, Batch(batch.screens, batch.prompts, completions, logps), settings=settings)
        kls.append(float(metrics["kl"]))
        if seed == 0:
            assert float(metrics["logp_difference"]) < 1e-6
    assert kls[0] == pytest.approx(0, abs=1e-9)
    assert kls[1] > 1e-7


def test_nothing_compiles_after_the_first_update_and_metrics_stay_on_the_device(caplog) -> None:
    state, _ = train_step(make_state(), make_batch(0), settings=SETTINGS)
    batches = [make_batch(seed) for seed in (4, 5)]
    with jax.log_compiles(), caplog.at_level(logging.WARNING), jax.transfer_guard_device_to_host("disallow"):
        for batch in batches:
            state, metrics = train_step(state, batch, settings=SETTINGS)
    assert [record.message for record in caplog.records if "Compiling" in record.message] == []
    assert all(isinstance(value, jax.Array) and value.shape == () for value in metrics.values())


def test_fully_masked_batch_changes_nothing_and_has_no_nan() -> None:
    batch = make_batch(0)
    nothing = replace(batch.completions, mask=np.zeros_like(batch.completions.mask))
    state = make_state()
    before = jax.device_get(state.trained)
    state, metrics = train_step(state, replace(batch, completions=nothing), settings=SETTINGS)
    assert all(leaves_equal(before, state.trained))
    assert all(np.isfinite(value) for value in metrics.values())


def test_unknown_frozen_part_error_names_the_parts() -> None:
    with pytest.raises(ValueError, match="no part 'visual'; it has text, vision"):
        create_state(make_policy(), OPTIMIZER, frozen=("visual",), key=jax.random.key(0))
