"""Keys and values as decoding reads them, and attention of the next token to them.

A single query has no work for the kernels of attention.py: what it costs is reading the cache. So here the cache lies
in the order in which both products go through it, and a prompt's is read once for all of its completions.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mobile_r1_jax.model.attention import MASKED, Keys


class CachedKeys(NamedTuple):
    """Keys [R, K, H, S] and values [R, K, S, H] of one layer, as decoding reads them: both products with a single query
    then go through the cache in the order in which it lies."""

    k: jax.Array
    v: jax.Array


def cached(keys: Keys) -> CachedKeys:
    """Keys and values [R, S, K, H] of one layer, laid out for decoding."""
    return CachedKeys(jnp.moveaxis(keys.k, 1, 3), jnp.moveaxis(keys.v, 1, 2))


def with_column(old: CachedKeys, new: Keys, column: jax.Array) -> CachedKeys:
    """The cache with a token's keys and values [R, 1, K, H] at `column`: [] int32 for all rows, or [R]."""
    if column.ndim == 0:
        k, v = cached(new)
        put = jax.lax.dynamic_update_slice_in_dim
        return CachedKeys(put(old.k, k, column, axis=3), put(old.v, v, column, axis=2))
    rows = jnp.arange(len(column))
    return CachedKeys(old.k.at[rows, :, :, column].set(new.k[:, 0]), old.v.at[rows, :, column].set(new.v[:, 0]))


def attend_cached(
    q: jax.Array, prompt: CachedKeys, prompt_seen: jax.Array, own: CachedKeys, own_seen: jax.Array
) -> jax.Array:
    """Attention of one query a row, one softmax over the prompt's keys and the row's own.

    The two parts are summed apart, each in the order of its columns, so that what is not seen at the end of one adds
    zeros and nothing else.

    Args:
      q: [R, N, H].
      prompt: of B prompts, row r has the prompt r // (R / B); prompt_seen [B, P] bool.
      own: of R rows; own_seen [R, C] bool.

    Returns:
      [R, N * H].
    """
    (rows, heads, width), (batch, kv_heads, _, _) = q.shape, prompt.k.shape
    group, queries = rows // batch, heads // kv_heads
    q = (q * width**-0.5).reshape(rows, kv_heads, queries, width)

    def by_prompt(x: jax.Array) -> jax.Array:
        """[R, K, J, ...] to [B, K, G * J, ...]: all queries of a prompt side by side, so that it is read once."""
        x = jnp.moveaxis(x.reshape(batch, group, *x.shape[1:]), 1, 2)
        return x.reshape(batch, kv_heads, group * queries, *x.shape[4:])

    def by_row(x: jax.Array) -> jax.Array:
        x = jnp.moveaxis(x.reshape(batch, kv_heads, group, queries, *x.shape[3:]), 2, 1)
        return x.reshape(rows, kv_heads, queries, *x.shape[4:])

    to_prompt = jnp.einsum("bkjh,bkhs->bkjs", by_prompt(q), prompt.k, preferred_element_type=jnp.float32)
    to_prompt = jnp.where(prompt_seen[:, None, None], to_prompt, MASKED)
    to_own = jnp.einsum("rkjh,rkhs->rkjs", q, own.k, preferred_element_type=jnp.float32)
    to_own = jnp.where(own_seen[:, None, None], to_own, MASKED)
    highest = jnp.maximum(by_row(to_prompt.max(axis=-1)), to_own.max(axis=-1))
    to_prompt, to_own = jnp.exp(to_prompt - by_prompt(highest)[..., None]), jnp.exp(to_own - highest[..., None])
    total = to_own.sum(axis=-1) + by_row(to_prompt.sum(axis=-1))
    out = jnp.einsum("rkjs,rksh->rkjh", to_own.astype(q.dtype), own.v, preferred_element_type=jnp.float32)
    out += by_row(
        jnp.einsum("bkjs,bksh->bkjh", to_prompt.astype(q.dtype), prompt.v, preferred_element_type=jnp.float32)
    )
    return (out / total[..., None]).astype(q.dtype).reshape(rows, heads * width)
