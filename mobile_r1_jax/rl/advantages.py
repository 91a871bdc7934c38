"""Advantages of a group's members relative to their group."""

from functools import partial

import jax
import jax.numpy as jnp

STD_OFFSET = 1e-4  # [kin]
EQUAL_REWARDS = 1e-6  # rewards closer together than this are float noise, not a preference [ours]


@partial(jax.jit, static_argnames="standardize")
def group_advantages(
    rewards_BG: jax.Array, counted_BG: jax.Array, *, standardize: bool = True
) -> tuple[jax.Array, jax.Array]:
    """Advantages `(r - mean) / (std + 1e-4)` within each group, over its counted members only [kin].

    The standard deviation is the sample one (divides by n - 1), as in the trainer that the kin code was forked from.

    Args:
      rewards_BG: float [B, G], one row per group; anything, NaN included, where not counted.
      counted_BG: bool [B, G], False for members that must leave no trace (a failed phone, a judge outage, padding).
      standardize: False leaves it at `r - mean` (Dr. GRPO, arXiv 2503.20783): a group whose rewards hardly differ then
        has little to say, where divided by its deviation it says as much as one of which half succeeded.

    Returns:
      advantages float32 [B, G]: zero for members that don't count and throughout uninformative groups;
      informative bool [B]: groups with at least two counted members whose rewards differ. Others teach nothing.
    """
    counted = counted_BG.astype(bool)
    rewards = jnp.where(counted, rewards_BG.astype(jnp.float32), 0.0)
    count = counted.sum(-1, keepdims=True)
    mean = rewards.sum(-1, keepdims=True) / jnp.maximum(count, 1)
    centred = jnp.where(counted, rewards - mean, 0.0)
    std = jnp.sqrt(jnp.square(centred).sum(-1, keepdims=True) / jnp.maximum(count - 1, 1))
    highest = jnp.where(counted, rewards, -jnp.inf).max(-1, keepdims=True)
    lowest = jnp.where(counted, rewards, jnp.inf).min(-1, keepdims=True)
    informative = (count >= 2) & (highest - lowest > EQUAL_REWARDS)
    advantages = centred / (std + STD_OFFSET) if standardize else centred
    return jnp.where(informative, advantages, 0.0), informative[..., 0]
