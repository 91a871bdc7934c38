"""Aggregation of a value per token to one scalar, additive over micro-batches.

Every scalar is a sum divided by a count in `Totals`. If each micro-batch gets the totals of the whole batch, the
scalars of the micro-batches *add up* to that of the batch, even if they have different numbers of tokens.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

Aggregation = Literal["token_mean", "sequence_mean"]


class Totals(NamedTuple):
    """The divisors of a batch's sums: float32 scalars."""

    tokens: jax.Array  # completion tokens that count
    sequences: jax.Array  # completions with at least one such token


@jax.jit
def count_totals(mask: jax.Array) -> Totals:
    """Return the totals of a mask, bool [..., C]. Totals of micro-batches add up; zero totals give zero means."""
    mask = mask.astype(bool)
    return Totals(mask.sum().astype(jnp.float32), mask.any(-1).sum().astype(jnp.float32))


@jax.jit
def token_mean(values: jax.Array, mask: jax.Array, totals: Totals) -> jax.Array:
    """Return the sum of values [..., C] where mask [..., C], over the number of tokens: all tokens weigh the same."""
    return jnp.where(mask, values, 0.0).sum() / jnp.maximum(totals.tokens, 1)


@partial(jax.jit, static_argnames="how")
def aggregate(values: jax.Array, mask: jax.Array, totals: Totals, how: Aggregation) -> jax.Array:
    """Return one scalar of values [..., C] where mask [..., C].

    `token_mean` [kin]: all tokens have equal weight. `sequence_mean` [kin, the alternative]: the mean of each
    completion, then the mean over completions; all completions have equal weight, so tokens of long ones have less.
    """
    if how == "token_mean":
        return token_mean(values, mask, totals)
    if how == "sequence_mean":
        per_sequence = jnp.where(mask, values, 0.0).sum(-1) / jnp.maximum(mask.sum(-1), 1)
        return per_sequence.sum() / jnp.maximum(totals.sequences, 1)
    raise ValueError(f"aggregation is {how!r}; choose token_mean or sequence_mean")


@jax.jit
def masked_max(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Return the largest of values [..., C] >= 0 where mask [..., C]; 0 if the mask is all False."""
    return jnp.where(mask, values, 0.0).max()
