"""The two losses of the recipe: GRPO for both online stages, weighted likelihood for format finetuning."""

from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Annotated, Literal, get_args

import jax
import jax.numpy as jnp

from mobile_r1_jax.rl.aggregate import Aggregation, Totals, aggregate, count_totals, masked_max, token_mean
from mobile_r1_jax.rl.terms import clipped_policy_loss, importance_weights, kl_k1, kl_k2, kl_k3, probability_ratio

KL_ESTIMATORS = {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3}


@dataclass(frozen=True)
class GRPO:
    """Settings of the GRPO loss; static, so each distinct value compiles once."""

    epsilon_low: Annotated[float, "[0, 1]"] = 0.2  # the ratio is clipped to 1 - low .. 1 + high [kin]
    epsilon_high: Annotated[float, "[0, inf)"] = 0.2  # the same; larger leaves rare tokens more room to grow [kin]
    beta: Annotated[float, "[0, inf)"] = 0.04  # weight of the KL to the reference; 0 needs no reference [kin]
    kl: Literal["k1", "k2", "k3"] = "k3"  # estimator of the KL [kin]
    # largest importance weight; null: none are used [ours]
    importance_cap: Annotated[float | None, "(0, inf)"] = None
    aggregation: Aggregation = "token_mean"  # mean over all tokens, or over each completion first [kin]

    def __post_init__(self) -> None:
        if self.kl not in KL_ESTIMATORS:
            raise ValueError(f"GRPO.kl is {self.kl!r}; choose k1, k2 or k3")
        _check_aggregation(self)
        if not (0 <= self.epsilon_low <= 1 and 0 <= self.epsilon_high < inf and 0 <= self.beta < inf):
            raise ValueError("GRPO needs 0 <= epsilon_low <= 1, epsilon_high >= 0 and beta >= 0, all finite")
        if self.importance_cap is not None and not 0 < self.importance_cap < inf:
            raise ValueError(f"GRPO.importance_cap is {self.importance_cap}; give a positive number, or null for none")


@dataclass(frozen=True)
class Likelihood:
    """Settings of the likelihood loss; static."""

    aggregation: Aggregation = "token_mean"  # as in the GRPO loss [ours]

    def __post_init__(self) -> None:
        _check_aggregation(self)


@partial(jax.jit, static_argnames="settings")
def grpo_loss(
    logps: jax.Array,
    mask: jax.Array,
    advantages: jax.Array,
    *,
    settings: GRPO,
    sampler_logps: jax.Array,
    truncated_logps: jax.Array | None = None,
    old_logps: jax.Array | None = None,
    reference_logps: jax.Array | None = None,
    entropy: jax.Array | None = None,
    totals: Totals | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Return the clipped, importance-weighted policy loss plus `beta` times the KL to the reference (GRPO, equation 3).

    Log ratios above 20 nats count as 20 and have no gradient, also in the k3 estimator (see terms.py).

    Args:
      logps: float [..., C], log-probabilities of the completion tokens under the trained policy. Only they have a
        gradient.
      mask: bool [..., C], True for tokens that count. Other positions are not read, so they may hold NaN.
      advantages: float [...], one per completion, shared by its tokens.
      sampler_logps: float [..., C], as the sampler recorded them: under its full distribution, at its temperature.
        Their difference to `logps` shows how far sampler and trainer differ.
      truncated_logps: float [..., C], under the distribution after top-p or top-k; None if it was not truncated. Only
        the denominator of the importance weights uses them; every ratio and the KL are those of full distributions. A
        weight is then the probability mass that the truncation kept (times the difference of sampler and trainer). So
        the kept tokens have the weight of draws from the full distribution; the others are never drawn.
      old_logps: float [..., C], the denominator of the ratio. None: the policy itself; then the ratio is 1, clipping is
        inactive, and the gradient is the plain policy gradient (one update per batch [kin]). For several updates per
        batch, pass the log-probabilities before the first one.
      reference_logps: float [..., C] under the frozen reference; required if settings.beta > 0.
      entropy: float [..., C] in nats, for the metrics only.
      totals: those of the whole batch, if this is one of its micro-batches; None counts them here.

    Returns:
      loss, float32 scalar; metrics, float32 scalars, token means: policy_loss (aggregated as the settings say),
      ratio_mean, ratio_max, clipped_low and clipped_high (shares of tokens), logp_difference (mean absolute difference
      of trainer and sampler), and if their inputs are given importance_mean, kl, entropy. All except `ratio_max` add up
      over micro-batches that share totals.
    """
    if settings.beta > 0 and reference_logps is None:
        raise ValueError(f"grpo_loss: beta is {settings.beta} but reference_logps is None; pass them, or set beta to 0")
    mask = mask.astype(bool)
    totals = count_totals(mask) if totals is None else totals
    # Padding may hold any value. It is zeroed before any exp, so that neither value nor gradient becomes NaN.
    logps, sampler_logps, truncated_logps, old_logps, reference_logps, entropy = (
        None if array is None else jnp.where(mask, array.astype(jnp.float32), 0.0)
        for array in (logps, sampler_logps, truncated_logps, old_logps, reference_logps, entropy)
    )
    advantages = _per_completion(advantages, mask)
    old_logps = jax.lax.stop_gradient(logps if old_logps is None else old_logps)
    ratio = probability_ratio(logps, old_logps)
    per_token, cut_low, cut_high = clipped_policy_loss(ratio, advantages, settings.epsilon_low, settings.epsilon_high)
    metrics = _ratio_metrics(ratio, cut_low, cut_high, mask, totals)
    metrics["logp_difference"] = token_mean(jnp.abs(logps - sampler_logps), mask, totals)
    if settings.importance_cap is not None:
        drawn_from = sampler_logps if truncated_logps is None else truncated_logps
        weights = importance_weights(old_logps, drawn_from, settings.importance_cap)
        per_token = per_token * weights
        metrics["importance_mean"] = token_mean(weights, mask, totals)
    loss = metrics["policy_loss"] = aggregate(per_token, mask, totals, settings.aggregation)
    if reference_logps is not None:
        kl = KL_ESTIMATORS[settings.kl](logps, jax.lax.stop_gradient(reference_logps))
        metrics["kl"] = token_mean(kl, mask, totals)
        if settings.beta > 0:
            loss = loss + settings.beta * aggregate(kl, mask, totals, settings.aggregation)
    if entropy is not None:
        metrics["entropy"] = token_mean(entropy, mask, totals)
    return loss, jax.lax.stop_gradient(metrics)


def _ratio_metrics(
    ratio: jax.Array, cut_low: jax.Array, cut_high: jax.Array, mask: jax.Array, totals: Totals
) -> dict[str, jax.Array]:
    """Return mean and maximum of the ratio, and the shares of tokens that were clipped."""
    return {
        "ratio_mean": token_mean(ratio, mask, totals),
        "ratio_max": masked_max(ratio, mask),
        "clipped_low": token_mean(cut_low.astype(jnp.float32), mask, totals),
        "clipped_high": token_mean(cut_high.astype(jnp.float32), mask, totals),
    }


@partial(jax.jit, static_argnames="settings")
def likelihood_loss(
    logps: jax.Array,
    mask: jax.Array,
    weights: jax.Array,
    *,
    settings: Likelihood,
    entropy: jax.Array | None = None,
    totals: Totals | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Return the weighted negative log-likelihood. For supervised finetuning, a golden completion has weight 1.

    Args:
      logps: float [..., C]; mask: bool [..., C]; weights: float [...], one per completion; entropy, totals: as in
        `grpo_loss`.

    Returns:
      loss, float32 scalar: nats per token (or per token of the average sequence); metrics: nll, the token mean without
      weights, and entropy if given.
    """
    mask = mask.astype(bool)
    totals = count_totals(mask) if totals is None else totals
    nll = -jnp.where(mask, logps.astype(jnp.float32), 0.0)
    loss = aggregate(_per_completion(weights, mask) * nll, mask, totals, settings.aggregation)
    metrics = {"nll": token_mean(nll, mask, totals)}
    if entropy is not None:
        metrics["entropy"] = token_mean(entropy, mask, totals)
    return loss, jax.lax.stop_gradient(metrics)


def _per_completion(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Return values [...] as float32 [..., 1], which broadcast to the tokens; 0 for a fully masked completion."""
    return jnp.where(mask.any(-1), values.astype(jnp.float32), 0.0)[..., None]


def _check_aggregation(settings: GRPO | Likelihood) -> None:
    if settings.aggregation not in get_args(Aggregation):
        name = type(settings).__name__
        raise ValueError(f"{name}.aggregation is {settings.aggregation!r}; choose {' or '.join(get_args(Aggregation))}")
