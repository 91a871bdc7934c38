"""Advantages of a group's members relative to their group."""

import jax
import jax.numpy as jnp

STD_OFFSET = 1e-4  # [kin]
EQUAL_REWARDS = 1e-6  # rewards closer together than this are float noise, not a preference [our choice]


@jax.jit
def group_advantages(rewards_BG: jax.Array, counted_BG: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Advantages `(r - mean) / (std + 1e-4)` within each group, over its counted members only [kin].

    The standard deviation is the sample one (divides by n - 1), as in the trainer that the kin code was forked from.

    Args:
      rewards_BG: float [B, G], one row per group; anything, NaN included, where not counted.
      counted_BG: bool [B, G], False for members that must leave no trace (a failed phone, a judge outage, padding).

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
    return jnp.where(informative, centred / (std + STD_OFFSET), 0.0), informative[..., 0]
