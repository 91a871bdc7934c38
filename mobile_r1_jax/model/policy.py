"""The policy: Qwen2.5-VL on the one batch, for training (shared prompts) and for sampling (a cache)."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import nnx

from mobile_r1_jax.model.attention import KV, Kernel, kernel_for, to_cache_layout
from mobile_r1_jax.model.config import PolicyConfig
from mobile_r1_jax.model.inputs import EncodedScreens, Prompts, Screens
from mobile_r1_jax.model.layers import LayerLoop, loop_for
from mobile_r1_jax.model.rotary import Rotation
from mobile_r1_jax.model.text import LayerKV, TextModel
from mobile_r1_jax.model.vision import VisionTower


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Cache:
    """K and V that decoding reads, in the layout of `to_cache_layout`: of the prompts, once, and of their completions.

    Each layer has its own arrays, so that they are updated in place."""

    prompt: LayerKV  # per layer k [B, K, H, P], v [B, K, P, H], shared by the G completions of a prompt
    prompt_mask: jax.Array  # [B, P] bool
    start: jax.Array  # [B] int32: position of the first completion token, on all three axes
    rotation: Rotation  # [B, C, H / 2]: rotation of the completion tokens
    own: LayerKV  # per layer k [B * G, K, H, C], v [B * G, K, C, H]


class Policy(nnx.Module):
    """Qwen2.5-VL. It is a pytree: pass it to `jax.jit` and `jax.grad` directly."""

    def __init__(
        self,
        config: PolicyConfig,
        *,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
        param_dtype: jnp.dtype = jnp.float32,
        remat: str = "none",
        kernel: Kernel | None = None,
        loop: LayerLoop | None = None,
    ) -> None:
        """Initialise random weights (normal, standard deviation 0.02).

        Args:
          dtype: dtype of the computation; param_dtype: dtype of the weights.
          remat: a name in layers.REMAT_POLICIES.
          kernel: the attention kernel; None for the one of the default backend.
          loop: how the language model runs its layers; None for the fastest way on the default backend."""
        kernel = kernel_for(jax.default_backend()) if kernel is None else kernel
        loop = loop_for(jax.default_backend()) if loop is None else loop
        kinds = {"dtype": dtype, "param_dtype": param_dtype, "remat": remat, "kernel": kernel, "rngs": rngs}
        self.vision = VisionTower(config.vision, **kinds)
        self.text = TextModel(config.text, loop=loop, **kinds)
        self.config = config

    def encode_screens(self, screens: Screens | EncodedScreens) -> jax.Array:
        """Encode screens to tokens [R * W * 16, D], or [N * M, D], which Prompts.image_index points into."""
        tokens = jnp.asarray(screens.tokens) if isinstance(screens, EncodedScreens) else self.vision(screens)
        return tokens.reshape(-1, tokens.shape[-1])

    def embed_prompts(self, screens: Screens | EncodedScreens, prompts: Prompts) -> jax.Array:
        """Embed prompts, [B, P, D]: text by the embedding, image tokens by the screens."""
        x = self.text.embed(prompts.ids)
        if jax.tree.leaves(screens)[0].shape[0] == 0:
            return x
        index = jnp.asarray(prompts.image_index)
        image_tokens = self.encode_screens(screens)[jnp.maximum(index, 0)]
        return jnp.where(index[..., None] >= 0, image_tokens, x)

    def completion_hidden(
        self, screens: Screens | EncodedScreens, prompts: Prompts, completion_ids: jax.Array, completion_mask: jax.Array
    ) -> jax.Array:
        """Return the hidden states [B, G, C, D], final-normed, that predict each completion token.

        A prompt is computed once, and its G completions attend to it. The gradients equal those of G copies of the
        prompt. The prompt's last valid position predicts the first completion token.

        Args:
          completion_ids: [B, G, C] int32; completion_mask: [B, G, C] bool, padding on the right (its ids are not read).
        """
        completions = self.text.embed(jnp.where(completion_mask, completion_ids, 0))
        embedded, ends = self.embed_prompts(screens, prompts), (_start(prompts), _last(prompts))
        last, own = self.text.run_group(embedded, prompts.positions, prompts.mask, completions, *ends)
        last = jnp.broadcast_to(last[:, None, None], (*own.shape[:2], 1, own.shape[3]))
        return self.text.norm(jnp.concatenate([last, own[:, :, :-1]], axis=2))

    def prefill(
        self,
        screens: Screens | EncodedScreens,
        prompts: Prompts,
        *,
        group: int,
        max_tokens: int,
        prefix: tuple[KV, jax.Array] | None = None,
    ) -> tuple[jax.Array, Cache]:
        """Run the prompts once.

        Args:
          group, max_tokens: the size of the cache, in completions of a prompt and in tokens of a completion.
          prefix: if `prompts` are the rest of longer prompts, K and V of the first tokens and their mask [B, P'], as
            `TextModel.run_prompt` takes them.

        Returns:
          the hidden states [B, D] that predict the first token, and a cache, without the prefix.
        """
        embedded = self.embed_prompts(screens, prompts)
        hidden, kv = self.text.run_prompt(embedded, prompts.positions, _last(prompts)[:, None], *(prefix or ()))
        batch, _, kv_heads, width = kv[0].k.shape
        empty = jnp.zeros((batch * group, kv_heads, width, max_tokens), kv[0].k.dtype)
        own = (KV(empty, jnp.moveaxis(empty, -1, -2)),) * len(kv)
        start = _start(prompts)
        rotation = self.text.rotation_from(start, max_tokens)
        # Without the barrier, XLA on a CPU would transpose the arrays again at every token.
        prompt = jax.lax.optimization_barrier(tuple(map(to_cache_layout, kv)))
        return hidden[:, 0], Cache(prompt, jnp.asarray(prompts.mask), start, rotation, own)

    def decode_step(self, cache: Cache, tokens: jax.Array, step: jax.Array) -> tuple[jax.Array, Cache]:
        """Run the step-th token [B, G] of each completion.

        Returns:
          the hidden states [B, G, D] that predict the next token, and the cache with this token."""
        rotation = jax.tree.map(lambda part: part[:, step, None], cache.rotation)
        hidden, own = self.text.run_step(
            self.text.embed(tokens), rotation, step, cache.prompt, cache.prompt_mask, cache.own
        )
        return hidden, replace(cache, own=own)


def to_compute_dtype(policy: Policy) -> Policy:
    """Return the policy with its weights in its compute dtype; arrays that have it already are shared.

    Results are the same bit by bit, since every use casts to this dtype. bfloat16 weights take half the bytes."""
    return jax.tree.map(lambda leaf: leaf.astype(policy.text.dtype), policy)


def _start(prompts: Prompts) -> jax.Array:
    """Return the position after the prompt's highest one, int32 [B]; 0 in a padding row."""
    return jnp.max(jnp.where(prompts.mask, jnp.asarray(prompts.positions).max(axis=0), -1), axis=-1) + 1


def _last(prompts: Prompts) -> jax.Array:
    """Return the column of each prompt's last valid token, int32 [B]; 0 in a padding row."""
    return jnp.maximum(jnp.sum(prompts.mask, axis=-1, dtype=jnp.int32) - 1, 0)
