"""Stochastic rounding to bfloat16, for weights and moments in this dtype.

bfloat16 has eight binary digits. Rounded to the nearest, an update of less than 1/512 of a weight is lost, and so are
all later ones. Stochastic rounding rounds up or down at random, such that the mean is exact. So small updates are kept
on average. [arXiv:2010.06192]
"""

from typing import Any

import jax
import jax.numpy as jnp

DROPPED_BITS = 16  # bits of a float32 that bfloat16 drops


def round_stochastically(x: jax.Array, key: jax.Array) -> jax.Array:
    """Round float32 x to one of the two nearest bfloat16 numbers, such that the mean over keys is x.

    A bfloat16 is the upper half of a float32. Random bits are added to the lower half; the probability of a carry into
    the upper half is proportional to the lower half. Values that are bfloat16 already, or not finite, stay unchanged.
    """
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    upper = (bits + noise) >> DROPPED_BITS
    rounded = jax.lax.bitcast_convert_type(upper.astype(jnp.uint16), jnp.bfloat16)
    return jnp.where(jnp.isfinite(x), rounded, x.astype(jnp.bfloat16))


def to_float32(tree: Any) -> Any:
    """Return the tree with its bfloat16 arrays as float32."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == jnp.bfloat16 else leaf, tree)


def round_like(new: Any, old: Any, key: jax.Array) -> Any:
    """Return the new tree in the dtypes of the old one. Arrays that were bfloat16 are rounded stochastically."""
    leaves, structure = jax.tree.flatten(new)
    keys = jax.random.split(key, len(leaves))
    rounded = [
        round_stochastically(leaf, one) if leaf.dtype != like.dtype else leaf
        for leaf, like, one in zip(leaves, jax.tree.leaves(old), keys, strict=True)
    ]
    return structure.unflatten(rounded)
