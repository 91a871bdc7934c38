"""The language model: one prompt, computed once, and the G completions that attend to it.

Per layer, the linear maps run over the tokens of the prompt and of all its completions side by side, [B, P + G * C, D].
A token of the prompt sees the prompt up to itself; one of completion g the whole prompt, and completion g up to itself.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from mobile_r1_jax.model.attention import KV, ONE_SEGMENT, Kernel, Segments, attention, from_cache_layout, write_column
from mobile_r1_jax.model.config import TextConfig
from mobile_r1_jax.model.layers import (
    INITIAL_STD,
    FeedForward,
    Linear,
    RMSNorm,
    matmul_rows,
    matmul_transposed,
    remat,
    shard_rows,
    stack_layers,
)
from mobile_r1_jax.model.rotary import Rotation, mrope, rotate

LayerKV = tuple[KV, ...]  # each layer's, as in a `Cache`
Take = Callable[[jax.Array], jax.Array]  # some tokens of [B, T, ...]


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

    def project(self, x: jax.Array, rotation: Rotation, only: Take | None = None) -> tuple[jax.Array, KV]:
        """x [B, T, D] to rotated queries [B, T, N, H], or of what `only` takes of the tokens, and keys, values
        [B, T, K, H]."""
        x = self.attention_norm(x)
        asking, rotation_q = (x, rotation) if only is None else (only(x), jax.tree.map(only, rotation))
        k = rotate(self._heads(self.k(x)), rotation)
        return rotate(self._heads(self.q(asking)), rotation_q), KV(k, self._heads(self.v(x)))

    def _heads(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], -1, self.config.head_width)

    def finish(self, x: jax.Array, attended: jax.Array) -> jax.Array:
        """Add what was attended, N * H numbers a token, and the feed-forward to the stream x [B, T, D]."""
        x = shard_rows(x + self.out(attended.reshape(x.shape)))
        return shard_rows(x + self.feed_forward(self.feed_forward_norm(x)))


def add_group_axis(keys: KV) -> KV:
    """Keys of prompts, [B, P, K, H], as one part that all of a prompt's queries share: [B, 1, P, K, H]."""
    return jax.tree.map(lambda part: part[:, None], keys)


def take_tokens(x: jax.Array, tokens: jax.Array) -> jax.Array:
    """x [B, T, ...] at tokens [B, R]: [B, R, ...]."""
    return jnp.take_along_axis(x, tokens.reshape(*tokens.shape, *(1,) * (x.ndim - 2)), axis=1)


class TextModel(nnx.Module):
    """Embedding, layers stacked on a leading axis L, final norm, output embedding."""

    def __init__(
        self,
        config: TextConfig,
        *,
        dtype: jnp.dtype,
        param_dtype: jnp.dtype,
        remat: str,
        kernel: Kernel,
        rngs: nnx.Rngs,
    ) -> None:
        shape = (config.vocab, config.width)
        self.embedding = nnx.Param(INITIAL_STD * jax.random.normal(rngs.params(), shape, param_dtype))
        self.layers = stack_layers(lambda rngs: TextLayer(config, dtype=param_dtype, rngs=rngs), config.layers, rngs)
        self.norm = RMSNorm(config.width, eps=config.norm_eps, dtype=param_dtype)
        self.head = (
            None if config.tied else nnx.Param(INITIAL_STD * jax.random.normal(rngs.params(), shape, param_dtype))
        )
        self.unstacked: tuple[TextLayer, ...] | None = nnx.data(None)  # the layers once more, given by `unstack_layers`
        self.config, self.dtype, self.remat, self.kernel = config, dtype, remat, kernel

    def embed(self, ids: jax.Array) -> jax.Array:
        """ids [...] int32 to [..., D] in the compute dtype."""
        return self.embedding[...][ids].astype(self.dtype)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Final-normed hidden [..., D] to logits [..., V], float32."""
        table = (self.embedding if self.head is None else self.head)[...].astype(hidden.dtype)
        if self.unstacked:
            return matmul_transposed(table, hidden, dtype=jnp.float32)
        return matmul_rows(hidden, table.T, dtype=jnp.float32)

    def run_layers(self, body: Callable, x: jax.Array, scanned: Any, read: Take) -> tuple[jax.Array, list[Any]]:
        """All layers: what `read` takes of the tokens behind the last one, and of each layer what body made there.

        On a TPU a loop. On a CPU they are written out: a loop would copy a layer's weights out of the stack and what is
        kept for the backward pass into others, and back. The last one then computes no token that nobody reads.

        body: (x [B, T, D], a layer of `scanned`, only) to (x, what it makes). only is None, or in the last layer
        `read`: then x is what that takes of it.
        """
        if self.kernel != "xla":
            x, made = jax.lax.scan(remat(partial(body, only=None), self.remat), x, scanned)
            return read(x), [_layer(made, number) for number in range(self.config.layers)]
        made = []
        for number in range(self.config.layers):
            alone = partial(body, only=read if number == self.config.layers - 1 else None)
            x, new = remat(alone, self.remat, looped=False)(x, _layer(scanned, number))
            made.append(new)
        return x, made

    def rotation(self, positions: jax.Array) -> Rotation:
        """M-RoPE of positions [3, ...]."""
        config = self.config
        return mrope(
            positions,
            head_width=config.head_width,
            section=config.mrope_section,
            theta=config.rope_theta,
            yarn=config.yarn,
        )

    def rotation_from(self, start: jax.Array, tokens: int) -> Rotation:
        """Of `tokens` positions from start [B] on, on all three axes: [B, T, H / 2].

        A loop over tokens takes it from here; XLA on a CPU would compute it in every layer, for every head."""
        return self.rotation(jnp.broadcast_to(start[:, None] + jnp.arange(tokens), (3, len(start), tokens)))

    def run_prompt(
        self,
        x: jax.Array,
        positions: jax.Array,
        wanted: jax.Array,
        before: KV | None = None,
        before_mask: jax.Array | None = None,
    ) -> tuple[jax.Array, list[KV]]:
        """Prompts, or what follows a part of them that was computed already.

        Args:
          x: [B, P, D] embedded tokens at positions [3, B, P].
          wanted: [B, R] int32, the tokens whose hidden states are wanted.
          before: of the tokens that come before all of x, k [L, B, K, H, P'], v [L, B, K, P', H], before_mask [B, P'].

        Returns:
          hidden [B, R, D], final-normed, and each layer's keys of x, [B, P, K, H].
        """
        rotation = self.rotation(positions)
        there = () if before_mask is None else (before_mask[:, None].astype(jnp.int32),)

        def body(x: jax.Array, scanned: tuple[TextLayer, KV | None], only: Take | None) -> tuple[jax.Array, KV]:
            layer, past = scanned
            q, keys = layer.project(x, rotation, only)
            parts = (
                [add_group_axis(keys)]
                if past is None
                else [add_group_axis(from_cache_layout(past)), add_group_axis(keys)]
            )
            attended = self.attend_prompt(q, parts, there, None if only is None else wanted)
            return layer.finish(x if only is None else only(x), attended), keys

        x, keys = self.run_layers(body, x, (self.layers, before), partial(take_tokens, tokens=wanted))
        return self.norm(x), keys

    def attend_prompt(
        self, q: jax.Array, parts: list[KV], there: tuple[jax.Array, ...], wanted: jax.Array | None
    ) -> jax.Array:
        """A prompt's tokens [B, P, N, H] attend to those before them, or only those `wanted` [B, R] do.

        parts: the last one is the prompt's own; there: int32 [B, 1, S], which columns of the others hold a token.
        Returns as many tokens as there are queries: [B, 1, P, N, H], or [B, R, 1, N, H].
        """
        if wanted is None:
            segments = Segments(ONE_SEGMENT, (*there, None)) if there else None
            return attention(q[:, None], *parts, segments=segments, causal=True, kernel=self.kernel)
        # Each is a member of a group, with one token: the causal mask is what it sees of the keys that all share.
        own = (jnp.arange(parts[-1].k.shape[2]) <= wanted[..., None]).astype(jnp.int32)
        segments = Segments(ONE_SEGMENT, (*there, own))
        return attention(q[:, :, None], *parts, segments=segments, kernel=self.kernel)

    def run_group(
        self,
        prompt: jax.Array,
        positions: jax.Array,
        mask: jax.Array,
        completions: jax.Array,
        start: jax.Array,
        last: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """Prompts and the completions that share them, in one pass.

        Args:
          prompt: [B, P, D] embedded prompts at positions [3, B, P], mask [B, P], the last valid token at last [B].
          completions: [B, G, C, D] embedded completions; the first token stands at position start [B] on all axes.

        Returns:
          hidden states before the final norm: of the last tokens of the prompts [B, D], and [B, G, C, D].
        """
        batch, length = mask.shape
        _, group, tokens, width = completions.shape
        own_positions = jnp.tile(start[:, None] + jnp.arange(tokens), (1, group))
        own_positions = jnp.broadcast_to(own_positions, (3, *own_positions.shape))
        rotation = self.rotation(jnp.concatenate([positions, own_positions], axis=-1))
        segments = Segments(ONE_SEGMENT, (mask[:, None].astype(jnp.int32), None))
        x = jnp.concatenate([prompt, completions.reshape(batch, group * tokens, width)], axis=1)

        def split(y: jax.Array) -> tuple[jax.Array, jax.Array]:
            first = y.shape[1] - group * tokens
            return y[:, :first], y[:, first:].reshape(batch, group, tokens, *y.shape[2:])

        def read(y: jax.Array) -> jax.Array:
            """The prompt's last token and the completions."""
            return jnp.concatenate([take_tokens(y, last[:, None]), y[:, length:]], axis=1)

        def body(x: jax.Array, layer: TextLayer, only: Take | None) -> tuple[jax.Array, None]:
            q, keys = layer.project(x, rotation, only)
            (prompt_q, own_q), (prompt_k, own_k), (prompt_v, own_v) = split(q), split(keys.k), split(keys.v)
            # A prompt is padded on the right: its own tokens see no padding before them, what its padding sees is not
            # read, and completions, which come after it, are kept from it by its segment.
            shared = add_group_axis(KV(prompt_k, prompt_v))
            own = attention(own_q, shared, KV(own_k, own_v), segments=segments, causal=True, kernel=self.kernel)
            first = self.attend_prompt(prompt_q, [shared], (), None if only is None else last[:, None])
            attended = [each.reshape(batch, -1, width) for each in (first, own)]
            return layer.finish(x if only is None else only(x), jnp.concatenate(attended, axis=1)), None

        x, _ = self.run_layers(body, x, self.layers, read)
        prompt, completions = split(x)
        return prompt[:, 0], completions

    def run_step(
        self,
        x: jax.Array,
        rotation: Rotation,
        step: jax.Array,
        prompt: LayerKV,
        prompt_mask: jax.Array,
        own: LayerKV,
    ) -> tuple[jax.Array, LayerKV]:
        """One new token for each of B x G completions.

        Args:
          x: [B, G, D] embedded tokens, rotation [B, 1, H / 2], the step-th of their completions.
          prompt, own: as in `Cache`, prompt_mask [B, P]; what stands in own after `step` is not read.

        Returns:
          hidden [B, G, D], final-normed, and own with the step's keys and values.
        """
        batch, group, _ = x.shape
        written = (jnp.arange(own[0].k.shape[-1]) <= step)[None, None]
        there = (mask.astype(jnp.int32) for mask in (prompt_mask[:, None], written))
        segments = Segments(ONE_SEGMENT, tuple(there))

        def attend(q: jax.Array, new: KV, shared: KV, past: KV) -> tuple[jax.Array, KV]:
            past = write_column(past, jax.tree.map(lambda part: part.reshape(-1, 1, *part.shape[2:]), new), step)
            own = jax.tree.map(lambda part: part.reshape(batch, group, *part.shape[1:]), past)
            parts = add_group_axis(from_cache_layout(shared)), from_cache_layout(own)
            return attention(q[:, :, None], *parts, segments=segments, kernel=self.kernel), past

        return self.run_unstacked(x, rotation, attend, prompt, own)

    def run_unstacked(
        self, x: jax.Array, rotation: Rotation, attend: Callable[..., tuple[jax.Array, KV]], *caches: LayerKV
    ) -> tuple[jax.Array, LayerKV]:
        """New tokens [B, T, D], layer by layer and not in a scan, so that caches are written in place.

        attend: (queries [B, T, N, H], the tokens' keys, the layer's `caches`) to what was attended and the new cache.
        """
        new = []
        for number, cache in enumerate(zip(*caches, strict=True)):
            layer = self.unstacked[number] if self.unstacked else _layer(self.layers, number)
            attended, written = attend(*layer.project(x, rotation), *cache)
            x = layer.finish(x, attended)
            new.append(written)
        return self.norm(x), tuple(new)


def _layer(layers: TextLayer, number: int) -> TextLayer:
    return jax.tree.map(lambda stacked: stacked[number], layers)


@jax.jit
def unstack_layers(text: TextModel) -> TextModel:
    """The language model for decoding on a CPU: its layers once more, each in arrays of its own that lie across.

    Out of the stack XLA on a CPU copies a layer's weights at every token, which takes it longer than all that it
    computes with them. A TPU reads them where they lie, and has no room for two of each."""
    apart = []
    for number in range(text.config.layers):
        layer = _layer(text.layers, number)
        for _, module in nnx.iter_modules(layer):
            if isinstance(module, Linear):
                module.kernel, module.transposed = nnx.Param(module.kernel[...].T), True
        apart.append(layer)
    text = nnx.clone(text)
    text.apart = nnx.data(tuple(apart))
    return text
