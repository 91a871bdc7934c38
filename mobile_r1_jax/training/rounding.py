"""Stochastic rounding to bfloat16, for weights and moments that are held in it.

bfloat16 has eight binary digits: an update of less than 1/512 of a weight, rounded to the nearest, is lost, and so is
every one after it. Rounded up or down at random, with a probability that makes the mean exact, small updates are lost
one by one and kept on average. [arXiv:2010.06192]
"""

from typing import Any

import jax
import jax.numpy as jnp

DROPPED_BITS = 16  # bits of a float32 that a bfloat16 has not


def round_stochastically(x: jax.Array, key: jax.Array) -> jax.Array:
    """x float32 to one of the two bfloat16 around it, to x itself where that is one; the mean over keys is x.

    A bfloat16 is the upper half of a float32: random bits added to the lower half carry into the upper one as often as
    the lower half is large. What is not finite stays as it is.
    """
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    upper = (bits + noise) >> DROPPED_BITS
    rounded = jax.lax.bitcast_convert_type(upper.astype(jnp.uint16), jnp.bfloat16)
    return jnp.where(jnp.isfinite(x), rounded, x.astype(jnp.bfloat16))


def to_float32(tree: Any) -> Any:
    """The tree with its bfloat16 arrays in float32."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == jnp.bfloat16 else leaf, tree)


def round_like(new: Any, old: Any, key: jax.Array) -> Any:
    """The new tree in the dtypes of the old one: what was bfloat16 is rounded to it stochastically."""
    leaves, structure = jax.tree.flatten(new)
    keys = jax.random.split(key, len(leaves))
    held = [
        round_stochastically(leaf, one) if leaf.dtype != like.dtype else leaf
        for leaf, like, one in zip(leaves, jax.tree.leaves(old), keys, strict=True)
    ]
    return structure.unflatten(held)
