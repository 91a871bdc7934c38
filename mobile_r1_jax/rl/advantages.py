"""Group-relative advantages."""

from functools import partial

import jax
import jax.numpy as jnp

STD_OFFSET = 1e-4  # [kin]
EQUAL_REWARDS = 1e-6  # smaller differences of rewards are float noise, not a preference [ours]


@partial(jax.jit, static_argnames="standardize")
def group_advantages(
    rewards_BG: jax.Array, counted_BG: jax.Array, *, standardize: bool = True
) -> tuple[jax.Array, jax.Array]:
    """Return the advantages `(r - mean) / (std + 1e-4)` within each group, over its counted members only [kin].

    The standard deviation is that of a sample (it divides by n - 1), as in the trainer that the kin code was forked
    from.

    Args:
      rewards_BG: float [B, G], one row per group. Rewards of members that do not count are ignored, even NaN.
      counted_BG: bool [B, G], False for members that must have no effect (a failed phone, a judge outage, padding).
      standardize: False returns `r - mean` (Dr. GRPO, arXiv 2503.20783). Then a group with nearly equal rewards has
        small advantages. With standardisation its advantages are as large as those of a group of which half succeeded.

    Returns:
      advantages float32 [B, G]: zero for members that do not count, and in uninformative groups;
      informative bool [B]: True for groups with at least two counted members whose rewards differ.
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
