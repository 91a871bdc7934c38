"""The language model: one prompt, computed once, and the G completions that attend to it.

Per layer, the linear maps run over the tokens of the prompt and of all its completions side by side, [B, P + G * C, D];
attention has two parts with one softmax over both:

    query in the prompt       sees the prompt up to itself
    query in completion g     sees the whole prompt, and completion g up to itself
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from mobile_r1_jax.model.config import TextConfig
from mobile_r1_jax.model.layers import INITIAL_STD, FeedForward, Linear, RMSNorm, by_rows, remat, stacked
from mobile_r1_jax.model.rotary import mrope, rotate

MASKED = -1e30  # finite, so that a row that sees nothing gives no NaN


class Keys(NamedTuple):
    """Keys and values: [B, P, K, H] of a prompt, or [B, G, C, K, H] of completions; stacked layers lead with L."""

    k: jax.Array
    v: jax.Array


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


class TextLayer(nnx.Module):
    """Pre-norm grouped-query attention and feed-forward."""

    def __init__(self, config: TextConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        width, kv_width = config.width, config.kv_heads * config.head_width
        self.attention_norm = RMSNorm(width, eps=config.norm_eps, dtype=dtype)
        self.q = Linear(width, width, bias=True, dtype=dtype, rngs=rngs)
        self.k = Linear(width, kv_width, bias=True, dtype=dtype, rngs=rngs)
        self.v = Linear(width, kv_width, bias=True, dtype=dtype, rngs=rngs)
        self.out = Linear(width, width, bias=False, dtype=dtype, rngs=rngs)
        self.feed_forward_norm = RMSNorm(width, eps=config.norm_eps, dtype=dtype)
        self.feed_forward = FeedForward(width, config.feed_forward, bias=False, dtype=dtype, rngs=rngs)
        self.config = config

    def project(self, x: jax.Array, angles: jax.Array) -> tuple[jax.Array, Keys]:
        """x [B, T, D] to rotated, scaled queries [B, T, N, H] and keys, values [B, T, K, H]."""
        shape = (*x.shape[:-1], -1, self.config.head_width)
        x = self.attention_norm(x)
        q, k = rotate(self.q(x).reshape(shape), angles), rotate(self.k(x).reshape(shape), angles)
        return q * self.config.head_width**-0.5, Keys(k, self.v(x).reshape(shape))

    def finish(self, x: jax.Array, attended: jax.Array) -> jax.Array:
        """Add what was attended, [B, T, N * H], and the feed-forward to the stream x [B, T, D]."""
        x = by_rows(x + self.out(attended))
        return by_rows(x + self.feed_forward(self.feed_forward_norm(x)))


def attend_prompt(q: jax.Array, keys: Keys) -> jax.Array:
    """Causal attention in the prompt: q [B, P, N, H], returns [B, P, N * H].

    Padding is on the right, so a valid query sees no padded key; what padded queries see is never used.
    """
    batch, length, heads, width = q.shape
    # [B, K, T, N / K, S]: with the queries of one key head side by side, K = 1 needs no transposition at all.
    q = q.reshape(batch, length, keys.k.shape[2], -1, width)
    scores = jnp.einsum("btkgh,bskh->bktgs", q, keys.k, preferred_element_type=jnp.float32)
    causal = jnp.tril(jnp.ones((length, length), bool))[:, None]
    weights = jax.nn.softmax(jnp.where(causal, scores, MASKED)).astype(q.dtype)
    return jnp.einsum("bktgs,bskh->btkgh", weights, keys.v).reshape(batch, length, heads * width)


def attend_completions(q: jax.Array, prompt: Keys, prompt_mask: jax.Array, own: Keys, visible: jax.Array) -> jax.Array:
    """Attention of completions, one softmax over the prompt's keys and their own.

    Args:
      q: [B, G, T, N, H] queries.
      prompt: [B, P, K, H], shared by the group; prompt_mask [B, P] bool.
      own: [B, G, C, K, H].
      visible: [T, C] bool, which own key each query sees.

    Returns:
      [B, G, T, N * H].
    """
    batch, group, length, heads, width = q.shape
    q = q.reshape(batch, group, length, prompt.k.shape[2], -1, width)
    to_prompt = jnp.einsum("bgtkjh,bskh->bkgtjs", q, prompt.k, preferred_element_type=jnp.float32)
    to_prompt = jnp.where(prompt_mask[:, None, None, None, None, :], to_prompt, MASKED)
    to_own = jnp.einsum("bgtkjh,bgskh->bkgtjs", q, own.k, preferred_element_type=jnp.float32)
    to_own = jnp.where(visible[:, None, :], to_own, MASKED)
    highest = jax.lax.stop_gradient(
        jnp.maximum(to_prompt.max(axis=-1, keepdims=True), to_own.max(axis=-1, keepdims=True))
    )
    to_prompt, to_own = jnp.exp(to_prompt - highest), jnp.exp(to_own - highest)
    total = to_prompt.sum(axis=-1, keepdims=True) + to_own.sum(axis=-1, keepdims=True)
    out = jnp.einsum("bkgtjs,bskh->bgtkjh", (to_prompt / total).astype(q.dtype), prompt.v)
    out += jnp.einsum("bkgtjs,bgskh->bgtkjh", (to_own / total).astype(q.dtype), own.v)
    return out.reshape(batch, group, length, heads * width)


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
    q = q.reshape(rows, kv_heads, queries, width)

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


class TextModel(nnx.Module):
    """Embedding, layers stacked on a leading axis L and scanned, final norm, output embedding."""

    def __init__(
        self, config: TextConfig, *, dtype: jnp.dtype, param_dtype: jnp.dtype, remat: str, rngs: nnx.Rngs
    ) -> None:
        shape = (config.vocab, config.width)
        self.embedding = nnx.Param(INITIAL_STD * jax.random.normal(rngs.params(), shape, param_dtype))
        self.layers = stacked(lambda rngs: TextLayer(config, dtype=param_dtype, rngs=rngs), config.layers, rngs)
        self.norm = RMSNorm(config.width, eps=config.norm_eps, dtype=param_dtype)
        self.head = (
            None if config.tied else nnx.Param(INITIAL_STD * jax.random.normal(rngs.params(), shape, param_dtype))
        )
        self.config, self.dtype, self.remat = config, dtype, remat

    def embed(self, ids: jax.Array) -> jax.Array:
        """ids [...] int32 to [..., D] in the compute dtype."""
        return self.embedding[...][ids].astype(self.dtype)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Final-normed hidden [..., D] to logits [..., V], float32."""
        table = self.embedding if self.head is None else self.head
        return jnp.einsum("...d,vd->...v", hidden, table[...].astype(hidden.dtype), preferred_element_type=jnp.float32)

    def angles(self, positions: jax.Array) -> jax.Array:
        """M-RoPE angles [..., H / 2] of positions [3, ...]."""
        config = self.config
        return mrope(positions, head_width=config.head_width, section=config.mrope_section, theta=config.rope_theta)

    def run_prompt(self, x: jax.Array, positions: jax.Array) -> tuple[jax.Array, Keys]:
        """Embedded prompts x [B, P, D] at positions [3, B, P] to (hidden [B, P, D], keys [L, B, P, K, H])."""
        angles = self.angles(positions)

        def body(x: jax.Array, layer: TextLayer) -> tuple[jax.Array, Keys]:
            q, keys = layer.project(x, angles)
            return layer.finish(x, attend_prompt(q, keys)), keys

        x, keys = jax.lax.scan(remat(body, self.remat), x, self.layers)
        return self.norm(x), keys

    def run_group(
        self, prompt: jax.Array, positions: jax.Array, mask: jax.Array, completions: jax.Array, start: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Prompts and the completions that share them, in one pass.

        Args:
          prompt: [B, P, D] embedded prompts at positions [3, B, P], mask [B, P].
          completions: [B, G, C, D] embedded completions; the first token stands at position start [B] on all axes.

        Returns:
          hidden states before the final norm: [B, P, D] and [B, G, C, D].
        """
        batch, length = mask.shape
        _, group, tokens, width = completions.shape
        own_positions = jnp.tile(start[:, None] + jnp.arange(tokens), (1, group))
        own_positions = jnp.broadcast_to(own_positions, (3, *own_positions.shape))
        angles = self.angles(jnp.concatenate([positions, own_positions], axis=-1))
        causal = jnp.tril(jnp.ones((tokens, tokens), bool))
        x = jnp.concatenate([prompt, completions.reshape(batch, group * tokens, width)], axis=1)

        def split(y: jax.Array) -> tuple[jax.Array, jax.Array]:
            return y[:, :length], y[:, length:].reshape(batch, group, tokens, *y.shape[2:])

        def body(x: jax.Array, layer: TextLayer) -> tuple[jax.Array, None]:
            q, keys = layer.project(x, angles)
            (prompt_q, own_q), (prompt_k, own_k), (prompt_v, own_v) = split(q), split(keys.k), split(keys.v)
            shared = Keys(prompt_k, prompt_v)
            own = attend_completions(own_q, shared, mask, Keys(own_k, own_v), causal)
            attended = [attend_prompt(prompt_q, shared), own.reshape(batch, group * tokens, width)]
            return layer.finish(x, jnp.concatenate(attended, axis=1)), None

        x, _ = jax.lax.scan(remat(body, self.remat), x, self.layers)
        return split(x)

    def layers_apart(self) -> tuple[TextLayer, ...]:
        """Each layer by itself. To be made before a loop that decodes: inside it, a CPU would copy every weight anew in
        every step."""
        return tuple(
            jax.tree.map(lambda stacked, number=number: stacked[number], self.layers)
            for number in range(self.config.layers)
        )

    def run_step(
        self,
        layers: Sequence[TextLayer],
        x: jax.Array,
        position: jax.Array,
        column: jax.Array,
        prompt: Sequence[CachedKeys],
        prompt_seen: jax.Array,
        own: Sequence[CachedKeys],
    ) -> tuple[jax.Array, tuple[CachedKeys, ...]]:
        """One new token for each of R rows.

        Args:
          layers: of `layers_apart`.
          x: [R, D] embedded tokens, at `position` [R] on all axes.
          column: [] or [R] int32, where the tokens go in the rows' own caches; what stands behind it is not read.
          prompt: per layer, of B prompts, each shared by R / B rows; prompt_seen [B, P] bool.
          own: per layer, of R rows.

        Returns:
          hidden [R, D], final-normed, and the own caches with the tokens in them.
        """
        rows = len(position)
        angles = self.angles(jnp.broadcast_to(position[:, None], (3, rows, 1)))
        own_seen = jnp.arange(own[0].k.shape[3]) <= jnp.broadcast_to(column, rows)[:, None]
        x, written = x[:, None], []
        for layer, shared, past in zip(layers, prompt, own, strict=True):
            q, new = layer.project(x, angles)
            past = with_column(past, new, column)
            x = layer.finish(x, attend_cached(q[:, 0], shared, prompt_seen, past, own_seen)[:, None])
            written.append(past)
        return self.norm(x)[:, 0], tuple(written)
