"""From a value per token to one scalar, in a way that micro-batches can share.

Every scalar is a sum divided by a count of `Totals`. Counted over a whole batch and handed to each of its
micro-batches, the totals make the micro-batches' scalars *add up* to the batch's, however unevenly the tokens fall.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

Aggregation = Literal["token_mean", "sequence_mean"]


class Totals(NamedTuple):
    """What the sums of a batch are divided by: float32 scalars."""

    tokens: jax.Array  # completion tokens that count
    sequences: jax.Array  # completions with at least one such token


@jax.jit
def count_totals(mask: jax.Array) -> Totals:
    """Totals of a mask, bool [..., C]. Those of micro-batches add up to their batch's; zero totals make zero means."""
    mask = mask.astype(bool)
    return Totals(mask.sum().astype(jnp.float32), mask.any(-1).sum().astype(jnp.float32))


@jax.jit
def token_mean(values: jax.Array, mask: jax.Array, totals: Totals) -> jax.Array:
    """Sum of values [..., C] where mask [..., C], over the number of tokens: every token weighs the same."""
    return jnp.where(mask, values, 0.0).sum() / jnp.maximum(totals.tokens, 1)


@partial(jax.jit, static_argnames="how")
def aggregate(values: jax.Array, mask: jax.Array, totals: Totals, how: Aggregation) -> jax.Array:
    """One scalar of values [..., C] where mask [..., C].

    `token_mean` [kin]: every token weighs the same. `sequence_mean` [kin, the alternative]: each completion's mean,
    then the mean over completions, so every completion weighs the same and a long one's tokens weigh less.
    """
    if how == "token_mean":
        return token_mean(values, mask, totals)
    if how == "sequence_mean":
        per_sequence = jnp.where(mask, values, 0.0).sum(-1) / jnp.maximum(mask.sum(-1), 1)
        return per_sequence.sum() / jnp.maximum(totals.sequences, 1)
    raise ValueError(f"aggregation is {how!r}; choose token_mean or sequence_mean")


@jax.jit
def masked_max(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Largest of values [..., C], none below zero, where mask [..., C]; 0 where nothing counts."""
    return jnp.where(mask, values, 0.0).max()
