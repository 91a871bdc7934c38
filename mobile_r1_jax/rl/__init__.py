"""Group-relative policy optimisation as pure, jitted functions on arrays. It imports only JAX.

    from mobile_r1_jax.rl import GRPO, group_advantages, grpo_loss

    advantages_BG, informative_B = group_advantages(rewards_BG, counted_BG)
    loss, metrics = grpo_loss(logps_BGC, mask_BGC, advantages_BG, settings=GRPO(beta=0.0), sampler_logps=sampled_BGC)

Axis letters: B prompts, G completions of one prompt (a group), C completion tokens; `...` means any leading axes.
"""

from mobile_r1_jax.rl.advantages import group_advantages
from mobile_r1_jax.rl.aggregate import Aggregation, Totals, aggregate, count_totals, masked_max, token_mean
from mobile_r1_jax.rl.grpo import GRPO, Likelihood, grpo_loss, likelihood_loss
from mobile_r1_jax.rl.terms import clipped_policy_loss, importance_weights, kl_k1, kl_k2, kl_k3

__all__ = [
    "GRPO",
    "Aggregation",
    "Likelihood",
    "Totals",
    "aggregate",
    "clipped_policy_loss",
    "count_totals",
    "group_advantages",
    "grpo_loss",
    "importance_weights",
    "kl_k1",
    "kl_k2",
    "kl_k3",
    "likelihood_loss",
    "masked_max",
    "token_mean",
]
