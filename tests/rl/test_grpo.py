import ast
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mobile_r1_jax
import mobile_r1_jax.rl as rl
from mobile_r1_jax.rl import GRPO, Likelihood, Totals, count_totals, grpo_loss, kl_k1, kl_k3, likelihood_loss
from mobile_r1_jax.rl.terms import probability_ratio

SHAPE = (3, 4, 7)


@pytest.fixture
def batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    logps = -rng.exponential(size=SHAPE).astype(np.float32)
    near = {
        name: (logps + rng.normal(scale=0.4, size=SHAPE)).astype(np.float32) for name in ("old", "sampler", "reference")
    }
    mask = np.arange(SHAPE[-1]) < rng.integers(0, SHAPE[-1] + 1, size=SHAPE[:-1])[..., None]
    mask[0, 0] = False
    return {"logps": logps, "mask": mask, "advantages": rng.normal(size=SHAPE[:-1]).astype(np.float32), **near}


LossAndMetrics = tuple[jax.Array, dict[str, jax.Array]]


def run(batch: dict, settings: GRPO, **changes: np.ndarray) -> LossAndMetrics:
    batch = batch | changes
    return grpo_loss(
        batch["logps"],
        batch["mask"],
        batch["advantages"],
        settings=settings,
        sampler_logps=batch["sampler"],
        old_logps=batch["old"],
        reference_logps=batch["reference"],
    )


def restated(b: dict[str, np.ndarray], settings: GRPO) -> tuple[float, float]:
    """Return loss and KL in float64 NumPy, token by token."""
    per_token, kls = np.zeros(SHAPE), np.zeros(SHAPE)
    for at in np.argwhere(b["mask"]):
        at = tuple(at)
        new, old, sampler, reference = (float(b[name][at]) for name in ("logps", "old", "sampler", "reference"))
        advantage, ratio = float(b["advantages"][at[:2]]), np.exp(new - old)
        clipped = min(max(ratio, 1 - settings.epsilon_low), 1 + settings.epsilon_high)
        policy = -min(ratio * advantage, clipped * advantage)
        if settings.importance_cap is not None:
            policy *= min(np.exp(old - sampler), settings.importance_cap)
        log_ratio = reference - new
        kls[at] = {"k1": -log_ratio, "k2": log_ratio**2 / 2, "k3": np.exp(log_ratio) - log_ratio - 1}[settings.kl]
        per_token[at] = policy + settings.beta * kls[at]
    tokens = b["mask"].sum()
    if settings.aggregation == "token_mean":
        return per_token.sum() / tokens, kls.sum() / tokens
    lengths = b["mask"].sum(-1)
    means = [row.sum() / n for row, n in zip(per_token.reshape(-1, SHAPE[-1]), lengths.ravel(), strict=True) if n]
    return float(np.mean(means)), kls.sum() / tokens


@pytest.mark.parametrize(
    "settings",
    [
        GRPO(),
        GRPO(epsilon_low=0.1, epsilon_high=0.5, kl="k1", aggregation="sequence_mean"),
        GRPO(kl="k2", beta=0.3, importance_cap=1.1),
        GRPO(importance_cap=1.0, aggregation="sequence_mean", beta=0.0),
    ],
)
def test_loss_and_kl_equal_a_numpy_reference(batch, settings) -> None:
    loss, metrics = run(batch, settings)
    expected_loss, expected_kl = restated(batch, settings)
    np.testing.assert_allclose(loss, expected_loss, rtol=2e-5)
    np.testing.assert_allclose(metrics["kl"], expected_kl, rtol=2e-5, atol=1e-6)
    assert all(value.shape == () for value in metrics.values())


def test_clip_fractions_are_reported_for_each_bound() -> None:
    logps = jnp.log(jnp.array([[0.5], [0.5], [2.0], [2.0]]))
    advantages = jnp.array([-1.0, 1.0, -1.0, 1.0])  # clipped low, not, not, clipped high
    mask = jnp.ones((4, 1), bool)

    def loss(x: jax.Array) -> LossAndMetrics:
        old = jnp.zeros_like(x)
        return grpo_loss(x, mask, advantages, settings=GRPO(beta=0.0), sampler_logps=old, old_logps=old)

    gradient, metrics = jax.grad(loss, has_aux=True)(logps)
    np.testing.assert_allclose(gradient.ravel() != 0, [False, True, True, False])
    assert metrics["clipped_low"] == metrics["clipped_high"] == 0.25


def test_on_policy_gradient_equals_the_policy_gradient(batch) -> None:
    def loss(logps: jax.Array) -> LossAndMetrics:
        return grpo_loss(
            logps, batch["mask"], batch["advantages"], settings=GRPO(beta=0.0), sampler_logps=batch["sampler"]
        )

    gradient, metrics = jax.grad(loss, has_aux=True)(batch["logps"])
    expected = np.where(batch["mask"], -batch["advantages"][..., None], 0) / batch["mask"].sum()
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    assert metrics["clipped_low"] == metrics["clipped_high"] == 0
    np.testing.assert_allclose([metrics["ratio_mean"], metrics["ratio_max"]], 1, rtol=1e-6)


def test_only_importance_weights_use_the_truncated_log_probabilities(batch) -> None:
    settings = GRPO(beta=0.0, importance_cap=5.0)
    truncated = batch["sampler"] + 0.25
    b = batch | {"sampler": truncated}

    def loss_of(old: np.ndarray | None) -> LossAndMetrics:
        return grpo_loss(
            batch["logps"],
            batch["mask"],
            batch["advantages"],
            settings=settings,
            sampler_logps=batch["sampler"],
            truncated_logps=truncated,
            old_logps=old,
        )

    loss, metrics = loss_of(batch["old"])
    np.testing.assert_allclose(loss, restated(b, settings)[0], rtol=2e-5)
    assert metrics["logp_difference"] == run(batch, settings)[1]["logp_difference"]
    assert loss_of(None)[1]["ratio_mean"] == pytest.approx(1)


def test_truncated_log_probabilities_give_unbiased_weights_for_kept_tokens() -> None:
    """The expectation is over draws from a nucleus of three of five tokens, with mass 0.8."""
    whole, worth = np.array([0.4, 0.3, 0.1]), np.array([2.0, -1.0, 3.0])
    drawn = whole / whole.sum()

    def expectation(**truncated: np.ndarray) -> float:
        logps = np.log(whole)[:, None]
        loss, _ = grpo_loss(
            logps,
            np.ones((3, 1), bool),
            3 * drawn * worth,
            settings=GRPO(beta=0.0, importance_cap=2.0),
            sampler_logps=logps,
            **truncated,
        )
        return -float(loss)

    assert expectation(truncated_logps=np.log(drawn)[:, None]) == pytest.approx((whole * worth).sum())
    assert expectation() == pytest.approx((drawn * worth).sum())


def test_fully_masked_batch_has_zero_loss_and_gradient_even_with_nans(batch) -> None:
    garbage = {name: np.full(SHAPE, np.nan, np.float32) for name in ("logps", "old", "sampler", "reference")}
    garbage |= {"mask": np.zeros(SHAPE, bool), "advantages": np.full(SHAPE[:-1], np.nan, np.float32)}
    settings = GRPO(importance_cap=2.0)
    (loss, metrics), gradient = jax.value_and_grad(lambda x: run(garbage, settings, logps=x), has_aux=True)(
        garbage["logps"]
    )
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0)
    assert all(value == 0 for value in metrics.values())


def test_padding_does_not_affect_loss_or_gradient(batch) -> None:
    spoilt = {name: np.where(batch["mask"], batch[name], np.inf) for name in ("logps", "old", "sampler", "reference")}
    both = [jax.value_and_grad(lambda x, b=b: run(b, GRPO(), logps=x)[0])(b["logps"]) for b in (batch, batch | spoilt)]
    jax.tree.map(np.testing.assert_array_equal, *both)


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_micro_batches_with_shared_totals_sum_to_the_batch(batch, aggregation) -> None:
    totals = Totals(*map(sum, zip(*map(count_totals, batch["mask"]), strict=True)))
    assert totals == Totals(batch["mask"].sum(), batch["mask"].any(-1).sum())
    settings = GRPO(aggregation=aggregation, importance_cap=1.5)

    def part(rows: slice) -> LossAndMetrics:
        b = {name: array[rows] for name, array in batch.items()}
        return grpo_loss(
            b["logps"],
            b["mask"],
            b["advantages"],
            settings=settings,
            sampler_logps=b["sampler"],
            old_logps=b["old"],
            reference_logps=b["reference"],
            totals=totals,
        )

    whole, metrics = run(batch, settings)
    parts = [part(slice(row, row + 1)) for row in range(SHAPE[0])]
    np.testing.assert_allclose(sum(loss for loss, _ in parts), whole, rtol=1e-5, atol=1e-6)
    for name in metrics.keys() - {"ratio_max"}:
        np.testing.assert_allclose(sum(m[name] for _, m in parts), metrics[name], rtol=1e-5, atol=1e-6)


def test_likelihood_loss_is_the_weighted_mean_of_negative_log_probabilities(batch) -> None:
    weights = np.abs(batch["advantages"])
    loss, metrics = likelihood_loss(batch["logps"], batch["mask"], weights, settings=Likelihood())
    expected = -(weights[..., None] * batch["logps"])[batch["mask"]].mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["nll"], -batch["logps"][batch["mask"]].mean(), rtol=1e-5)


@pytest.mark.parametrize("nats", [21.0, 88.0, 89.0, 200.0, 1e4])
@pytest.mark.parametrize("advantage", [-1.0, 0.0, 1.0])
def test_ratios_that_would_overflow_are_bounded_and_have_no_gradient(nats: float, advantage: float) -> None:
    """k3 compares policy and reference; the ratio compares the policy with that of the batch; one token per row."""
    logps = jnp.array([[-nats, -1.0], [-1.0, -1.0]])
    others = {"reference_logps": logps.at[0, 0].set(0.0), "old_logps": logps.at[1, 0].set(-1 - nats)}
    mask, advantages = jnp.ones((2, 2), bool), jnp.full(2, advantage)

    def loss(logps: jax.Array) -> LossAndMetrics:
        return grpo_loss(logps, mask, advantages, settings=GRPO(beta=0.1), sampler_logps=logps, **others)

    (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(logps)
    assert np.isfinite(value) and np.isfinite(gradient).all() and all(np.isfinite(list(metrics.values())))
    bound = np.exp(np.float32(20))
    np.testing.assert_allclose(metrics["kl"], (bound - 21) / 4, rtol=1e-6)
    np.testing.assert_allclose(metrics["ratio_max"], bound, rtol=1e-6)
    assert gradient[1, 0] == 0 and gradient[0, 0] == pytest.approx(-advantage / 4)  # the policy loss alone


def test_k3_and_the_ratio_are_exact_below_the_bound() -> None:
    nats = jnp.linspace(-30, 20, 101)
    np.testing.assert_array_equal(kl_k3(-nats, jnp.zeros(101)), jnp.exp(nats) - nats - 1)
    np.testing.assert_array_equal(probability_ratio(nats, jnp.zeros(101)), jnp.exp(nats))
    slope = jax.vmap(jax.grad(kl_k3))(-nats[:-1], jnp.zeros(100))
    np.testing.assert_allclose(slope, 1 - np.exp(nats[:-1]), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(kl_k1(-nats, jnp.zeros(101)), -nats)


def test_wrong_settings_are_refused_in_one_line(batch) -> None:
    with pytest.raises(ValueError, match="choose k1, k2 or k3"):
        GRPO(kl="k4")
    for field in ("epsilon_low", "epsilon_high", "beta", "importance_cap"):
        for value in (-1, np.nan, np.inf):
            with pytest.raises(ValueError, match=field):
                GRPO(**{field: value})
    with pytest.raises(ValueError, match="reference_logps is None"):
        grpo_loss(batch["logps"], batch["mask"], batch["advantages"], settings=GRPO(), sampler_logps=batch["sampler"])


def test_rl_imports_jax_and_the_standard_library_alone() -> None:
    allowed = {"jax", *sys.stdlib_module_names}
    for file in Path(rl.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            for name in names:
                assert name.split(".")[0] in allowed or name.startswith("mobile_r1_jax.rl"), f"{file.name}: {name}"
    package = ast.parse(Path(mobile_r1_jax.__file__).read_text())
    assert not [node for node in ast.walk(package) if isinstance(node, ast.Import | ast.ImportFrom)]
