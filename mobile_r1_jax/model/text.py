"""The language model: a prompt is computed once, and its G completions attend to it.

In each layer, the linear maps run over the tokens of the prompt and of all its completions, [B, P + G * C, D]. A prompt
token sees the prompt up to itself. A token of completion g sees the whole prompt and completion g up to itself.
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
    LayerLoop,
    Linear,
    RMSNorm,
    matmul_table,
    remat,
    shard_rows,
    stack_layers,
    take_layer,
)
from mobile_r1_jax.model.rotary import Rotation, mrope, rotate

LayerKV = tuple[KV, ...]  # K and V of each layer, as in a `Cache`
Selector = Callable[[jax.Array], jax.Array]  # x [B, T, ...] -> some of its tokens


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

    def project(self, x: jax.Array, rotation: Rotation, select: Selector | None = None) -> tuple[jax.Array, KV]:
        """Return rotated queries [B, T, N, H] and K and V [B, T, K, H] of x [B, T, D].

        select: if given, only the selected tokens have queries."""
        x = self.attention_norm(x)
        q_input, q_rotation = (x, rotation) if select is None else (select(x), jax.tree.map(select, rotation))
        k = rotate(self._heads(self.k(x)), rotation)
        return rotate(self._heads(self.q(q_input)), q_rotation), KV(k, self._heads(self.v(x)))

    def _heads(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], -1, self.config.head_width)

    def finish(self, x: jax.Array, attended: jax.Array) -> jax.Array:
        """Add the result of attention, N * H numbers per token, and the feed-forward to the stream x [B, T, D]."""
        x = shard_rows(x + self.out(attended.reshape(x.shape)))
        return shard_rows(x + self.feed_forward(self.feed_forward_norm(x)))


def add_group_axis(kv: KV) -> KV:
    """Return K and V of prompts [B, P, K, H] as [B, 1, P, K, H], which all queries of a prompt share."""
    return jax.tree.map(lambda array: array[:, None], kv)


def take_tokens(x: jax.Array, tokens: jax.Array) -> jax.Array:
    """Return x [B, T, ...] at the indices tokens [B, R]: [B, R, ...]."""
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
        loop: LayerLoop,
        rngs: nnx.Rngs,
    ) -> None:
        shape = (config.vocab, config.width)
        self.embedding = nnx.Param(INITIAL_STD * jax.random.normal(rngs.params(), shape, param_dtype))
        self.layers = stack_layers(lambda rngs: TextLayer(config, dtype=param_dtype, rngs=rngs), config.layers, rngs)
        self.norm = RMSNorm(config.width, eps=config.norm_eps, dtype=param_dtype)
        self.head = (
            None if config.tied else nnx.Param(INITIAL_STD * jax.random.normal(rngs.params(), shape, param_dtype))
        )
        self.config, self.dtype, self.remat, self.kernel, self.loop = config, dtype, remat, kernel, loop
        # decode_layout.py sets other ones for decoding.
        self.decode_layers: tuple[TextLayer, ...] | None = nnx.data(None)  # separate copies of the layers
        self.matmul_table = matmul_table  # of hidden states and the output embedding

    def embed(self, ids: jax.Array) -> jax.Array:
        """Embed ids [...] int32: [..., D] in the compute dtype."""
        return self.embedding[...][ids].astype(self.dtype)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Return the logits [..., V], float32, of final-normed hidden states [..., D]."""
        table = (self.embedding if self.head is None else self.head)[...].astype(hidden.dtype)
        return self.matmul_table(hidden, table, dtype=jnp.float32)

    def run_layers(self, body: Callable, x: jax.Array, scanned: Any, select: Selector) -> tuple[jax.Array, list[Any]]:
        """Run all layers. Return the selected tokens after the last layer, and the output of `body` for each layer.

        The last unrolled layer skips tokens that are not selected.

        Args:
          x: [B, T, D].
          body: (x, a layer of `scanned`, select) -> (x, output). `select` is None, except in the last unrolled layer:
            there `body` returns the selected tokens of x only.
        """
        if self.loop == "scan":
            x, outputs = jax.lax.scan(remat(partial(body, select=None), self.remat), x, scanned)
            return select(x), [take_layer(outputs, number) for number in range(self.config.layers)]
        outputs = []
        for number in range(self.config.layers):
            run = partial(body, select=select if number == self.config.layers - 1 else None)
            x, output = remat(run, self.remat, looped=False)(x, take_layer(scanned, number))
            outputs.append(output)
        return x, outputs

    def rotation(self, positions: jax.Array) -> Rotation:
        """Return the M-RoPE rotation of positions [3, ...]."""
        config = self.config
        return mrope(
            positions,
            head_width=config.head_width,
            section=config.mrope_section,
            theta=config.rope_theta,
            yarn=config.yarn,
        )

    def rotation_from(self, start: jax.Array, tokens: int) -> Rotation:
        """Return the rotation of `tokens` positions from start [B] on, the same on all three axes: [B, T, H / 2].

        Decoding computes it before its loop. In the loop, XLA on a CPU would repeat it in every layer and head."""
        return self.rotation(jnp.broadcast_to(start[:, None] + jnp.arange(tokens), (3, len(start), tokens)))

    def run_prompt(
        self,
        x: jax.Array,
        positions: jax.Array,
        selected: jax.Array,
        prefix: KV | None = None,
        prefix_mask: jax.Array | None = None,
    ) -> tuple[jax.Array, list[KV]]:
        """Run prompts, or the rest of prompts whose first tokens are in a cache.

        Args:
          x: [B, P, D] embedded tokens at positions [3, B, P].
          selected: [B, R] int32, indices of the tokens whose hidden states are returned.
          prefix: K and V of the tokens before x, k [L, B, K, H, P'], v [L, B, K, P', H]; prefix_mask: bool [B, P'].

        Returns:
          hidden [B, R, D], final-normed, and K and V of x in each layer, [B, P, K, H].
        """
        rotation = self.rotation(positions)
        prefix_segments = () if prefix_mask is None else (prefix_mask[:, None].astype(jnp.int32),)

        def body(x: jax.Array, scanned: tuple[TextLayer, KV | None], select: Selector | None) -> tuple[jax.Array, KV]:
            layer, past = scanned
            q, kv = layer.project(x, rotation, select)
            parts = [add_group_axis(part) for part in ([kv] if past is None else [from_cache_layout(past), kv])]
            attended = self.attend_prompt(q, parts, prefix_segments, None if select is None else selected)
            return layer.finish(x if select is None else select(x), attended), kv

        x, kv = self.run_layers(body, x, (self.layers, prefix), partial(take_tokens, tokens=selected))
        return self.norm(x), kv

    def attend_prompt(
        self, q: jax.Array, parts: list[KV], prefix_segments: tuple[jax.Array, ...], selected: jax.Array | None
    ) -> jax.Array:
        """Return the attention of prompt tokens to the tokens before them.

        Args:
          q: [B, P, N, H] queries of all tokens; or [B, R, N, H], those of the tokens `selected` [B, R].
          parts: the last part is the prompt's own.
          prefix_segments: of each other part, int32 [B, 1, S]: 1 in columns that hold a token, else 0.

        Returns:
          [B, 1, P, N, H], or [B, R, 1, N, H].
        """
        if selected is None:
            segments = Segments(ONE_SEGMENT, (*prefix_segments, None)) if prefix_segments else None
            return attention(q[:, None], *parts, segments=segments, causal=True, kernel=self.kernel)
        # Each selected token is a group member of one token. Its segments are the causal mask over the shared K and V.
        own = (jnp.arange(parts[-1].k.shape[2]) <= selected[..., None]).astype(jnp.int32)
        segments = Segments(ONE_SEGMENT, (*prefix_segments, own))
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
        """Run prompts and the completions that share them, in one pass.

        Args:
          prompt: [B, P, D] embedded prompts at positions [3, B, P], with mask [B, P]. The index of the last valid token
            is last [B].
          completions: [B, G, C, D] embedded completions. The first token has position start [B] on all axes.

        Returns:
          hidden states before the final norm: of the prompts' last tokens [B, D], and of the completions [B, G, C, D].
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

        def select_outputs(y: jax.Array) -> jax.Array:
            """Return the prompt's last token and the completions."""
            return jnp.concatenate([take_tokens(y, last[:, None]), y[:, length:]], axis=1)

        def body(x: jax.Array, layer: TextLayer, select: Selector | None) -> tuple[jax.Array, None]:
            q, kv = layer.project(x, rotation, select)
            (prompt_q, own_q), (prompt_k, own_k), (prompt_v, own_v) = split(q), split(kv.k), split(kv.v)
            # A prompt is padded on the right: the causal mask hides the padding from its tokens, and segments hide it
            # from completions. Results of padding are not used.
            shared = add_group_axis(KV(prompt_k, prompt_v))
            own = attention(own_q, shared, KV(own_k, own_v), segments=segments, causal=True, kernel=self.kernel)
            first = self.attend_prompt(prompt_q, [shared], (), None if select is None else last[:, None])
            attended = [each.reshape(batch, -1, width) for each in (first, own)]
            return layer.finish(x if select is None else select(x), jnp.concatenate(attended, axis=1)), None

        x, _ = self.run_layers(body, x, self.layers, select_outputs)
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
        """Run one new token of each of B x G completions.

        Args:
          x: [B, G, D] embedded tokens, the step-th of their completions; rotation: [B, 1, H / 2].
          prompt, own: as in `Cache`; prompt_mask: [B, P]. Columns of `own` after `step` are not read.

        Returns:
          hidden [B, G, D], final-normed, and `own` with K and V of the step.
        """
        batch, group, _ = x.shape
        written = (jnp.arange(own[0].k.shape[-1]) <= step)[None, None]
        segments = Segments(ONE_SEGMENT, tuple(mask.astype(jnp.int32) for mask in (prompt_mask[:, None], written)))

        def attend(q: jax.Array, new: KV, shared: KV, past: KV) -> tuple[jax.Array, KV]:
            past = write_column(past, jax.tree.map(lambda part: part.reshape(-1, 1, *part.shape[2:]), new), step)
            own = jax.tree.map(lambda part: part.reshape(batch, group, *part.shape[1:]), past)
            parts = add_group_axis(from_cache_layout(shared)), from_cache_layout(own)
            return attention(q[:, :, None], *parts, segments=segments, kernel=self.kernel), past

        return self.run_new_tokens(x, rotation, attend, prompt, own)

    def run_new_tokens(
        self, x: jax.Array, rotation: Rotation, attend: Callable[..., tuple[jax.Array, KV]], *caches: LayerKV
    ) -> tuple[jax.Array, LayerKV]:
        """Run new tokens x [B, T, D] in unrolled layers, not in a scan, so that caches are updated in place.

        attend: (queries [B, T, N, H], K and V of the tokens, the layer's `caches`) -> (result of attention, new cache).
        """
        new = []
        for number, cache in enumerate(zip(*caches, strict=True)):
            layer = self.decode_layers[number] if self.decode_layers else take_layer(self.layers, number)
            attended, written = attend(*layer.project(x, rotation), *cache)
            x = layer.finish(x, attended)
            new.append(written)
        return self.norm(x), tuple(new)
