import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mobile_r1_jax.training.optimizer import learning_rate, make_optimizer
from mobile_r1_jax.training.optimizer_settings import OptimizerSettings, with_total_steps


def test_learning_rate_warms_up_from_above_zero_and_stays_constant() -> None:
    rate = learning_rate(OptimizerSettings(learning_rate=1.0, warmup_steps=3))
    np.testing.assert_allclose([rate(n) for n in range(5)], [0.25, 0.5, 0.75, 1, 1])
    assert learning_rate(OptimizerSettings(learning_rate=1.0))(0) == 1


def test_cosine_decays_from_the_full_rate_to_zero_at_the_last_step() -> None:
    rate = learning_rate(OptimizerSettings(learning_rate=2.0, warmup_steps=2, schedule="cosine", total_steps=10))
    np.testing.assert_allclose([rate(2), rate(6), rate(10), rate(11)], [2, 1, 0, 0], atol=1e-6)


def test_cosine_ends_with_its_stage_by_default_and_a_short_run_is_all_warm_up() -> None:
    cosine = OptimizerSettings(learning_rate=2.0, warmup_steps=4, schedule="cosine")
    assert learning_rate(with_total_steps(cosine, 10))(10) == 0
    assert with_total_steps(OptimizerSettings(schedule="cosine", total_steps=7), 10).total_steps == 7
    np.testing.assert_allclose([learning_rate(with_total_steps(cosine, 2))(n) for n in range(2)], [0.4, 0.8], rtol=1e-6)


def test_impossible_settings_are_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="total_steps above warmup_steps, not 3 and 3"):
        OptimizerSettings(schedule="cosine", warmup_steps=3, total_steps=3)
    with pytest.raises(ValueError, match="a cosine needs total_steps"):
        learning_rate(OptimizerSettings(schedule="cosine"))
    with pytest.raises(ValueError, match="choose constant or cosine"):
        OptimizerSettings(schedule="linear")
    with pytest.raises(ValueError, match="above 0"):
        OptimizerSettings(learning_rate=0.0)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["learning_rate", "eps", "clip_norm", "b1", "b2", "weight_decay"])
def test_impossible_numbers_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field) as caught:
        OptimizerSettings(**{field: value})
    assert "\n" not in str(caught.value)


def test_weight_decay_excludes_biases_and_scales() -> None:
    settings = OptimizerSettings(learning_rate=0.1, weight_decay=0.5)
    params = {"q": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}, "norm": {"scale": jnp.ones(2)}}
    zero = jax.tree.map(jnp.zeros_like, params)
    optimizer = make_optimizer(settings)
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    np.testing.assert_allclose(updates["q"]["kernel"], -0.05, rtol=1e-6)
    assert not updates["q"]["bias"].any()
    assert not updates["norm"]["scale"].any()


def test_gradients_are_clipped_by_their_global_norm() -> None:
    # Adam's first update doesn't see the gradient's length, except through eps.
    optimizer = make_optimizer(OptimizerSettings(learning_rate=1.0, clip_norm=1.0, eps=1.0))
    params = {"a": {"kernel": jnp.zeros(1)}, "b": {"kernel": jnp.zeros(1)}}
    gradients = {"a": {"kernel": jnp.array([30.0])}, "b": {"kernel": jnp.array([40.0])}}
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    np.testing.assert_allclose(
        [updates["a"]["kernel"][0], updates["b"]["kernel"][0]], [-0.6 / 1.6, -0.8 / 1.8], rtol=1e-5
    )
