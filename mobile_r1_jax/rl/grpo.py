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
    """What the GRPO loss is made of; static, so each distinct value compiles once."""

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
    """What the likelihood loss is made of; static."""

    aggregation: Aggregation = "token_mean"  # [ours] as the GRPO loss

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
    """Clipped, importance-weighted policy loss plus `beta` times the KL to the reference (GRPO's equation 3).

    Log ratios above 20 nats, the k3 estimator's too, count as 20 and have no gradient (see terms.py).

    Args:
      logps: float [..., C], of the completions' tokens under the policy being trained; the gradient's only way.
      mask: bool [..., C], tokens that count. Where False, nothing is read: not even NaN does harm.
      advantages: float [...], one per completion, shared by its tokens.
      sampler_logps: float [..., C], as recorded by whatever sampled the tokens: under its whole distribution, at its
        temperature. Against the same whole distribution, recomputed, they say how far sampler and trainer differ.
      truncated_logps: float [..., C], under what the tokens were drawn from, where top-p or top-k cut that; None where
        nothing was cut. They are the importance weights' denominator and nothing else's: every ratio and the KL are of
        whole distributions. A weight is then the mass that the cut left (times how sampler and trainer differ), which
        is what makes the tokens kept weigh as they would in draws from the whole; those cut off stay unseen.
      old_logps: float [..., C], what the ratio is taken against. None: the policy as it is now, so the ratio is 1,
        clipping is inactive and the gradient is the plain policy gradient (one update per batch [kin]). For several
        updates per batch pass the log-probabilities from before the first.
      reference_logps: float [..., C] of the frozen reference; needed when settings.beta > 0.
      entropy: float [..., C] in nats, only measured.
      totals: of the whole batch, when this is one micro-batch of it; None counts them here.

    Returns:
      loss, float32 scalar; metrics, float32 scalars, token means: policy_loss (this one as aggregated), ratio_mean,
      ratio_max, clipped_low and clipped_high (shares of tokens), logp_difference (mean absolute train - sampler), and
      where their inputs are given importance_mean, kl, entropy. All but `ratio_max` add up over micro-batches that
      share totals.
    """
    if settings.beta > 0 and reference_logps is None:
        raise ValueError(f"grpo_loss: beta is {settings.beta} but reference_logps is None; pass them, or set beta to 0")
    mask = mask.astype(bool)
    totals = count_totals(mask) if totals is None else totals
    # Padding may hold anything; zeroed before any exp, neither value nor gradient can turn into NaN there.
    logps, sampler_logps, truncated_logps, old_logps, reference_logps, entropy = (
        None if array is None else jnp.where(mask, array.astype(jnp.float32), 0.0)
        for array in (logps, sampler_logps, truncated_logps, old_logps, reference_logps, entropy)
    )
    advantages = _per_completion(advantages, mask)
    old_logps = jax.lax.stop_gradient(logps if old_logps is None else old_logps)
    ratio = probability_ratio(logps, old_logps)
    per_token, cut_low, cut_high = clipped_policy_loss(ratio, advantages, settings.epsilon_low, settings.epsilon_high)
    metrics = {
        "ratio_mean": token_mean(ratio, mask, totals),
        "ratio_max": masked_max(ratio, mask),
        "clipped_low": token_mean(cut_low.astype(jnp.float32), mask, totals),
        "clipped_high": token_mean(cut_high.astype(jnp.float32), mask, totals),
        "logp_difference": token_mean(jnp.abs(logps - sampler_logps), mask, totals),
    }
    if settings.importance_cap is not None:
        drawn_from = sampler_logps if truncated_logps is None else truncated_logps
        weights = importance_weights(old_logps, drawn_from, settings.importance_cap)
        per_token = per_token * weights
        metrics["importance_mean"] = token_mean(weights, mask, totals)
    loss = aggregate(per_token, mask, totals, settings.aggregation)
    metrics["policy_loss"] = loss
    if reference_logps is not None:
        kl = KL_ESTIMATORS[settings.kl](logps, jax.lax.stop_gradient(reference_logps))
        metrics["kl"] = token_mean(kl, mask, totals)
        if settings.beta > 0:
            loss = loss + settings.beta * aggregate(kl, mask, totals, settings.aggregation)
    if entropy is not None:
        metrics["entropy"] = token_mean(entropy, mask, totals)
    return loss, jax.lax.stop_gradient(metrics)


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
    """Weighted negative log-likelihood: supervised finetuning, where a golden completion weighs 1.

    Args:
      logps: float [..., C]; mask: bool [..., C]; weights: float [...], one per completion; entropy, totals: as in
        `grpo_loss`.

    Returns:
      loss, float32 scalar: nats per token (or per token of the average sequence); metrics: nll, the token mean without
      weights, and entropy where given.
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
    """Values [...] as float32 [..., 1] beside their tokens; zero for a completion without a token that counts."""
    return jnp.where(mask.any(-1), values.astype(jnp.float32), 0.0)[..., None]


def _check_aggregation(settings: GRPO | Likelihood) -> None:
    if settings.aggregation not in get_args(Aggregation):
        name = type(settings).__name__
        raise ValueError(f"{name}.aggregation is {settings.aggregation!r}; choose {' or '.join(get_args(Aggregation))}")
