"""The policy: Qwen2.5-VL over the one batch, for training (shared prompts) and for sampling (a cache)."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import nnx

from mobile_r1_jax.model.attention import KV, Kernel, kernel_for, to_cache_layout
from mobile_r1_jax.model.config import PolicyConfig
from mobile_r1_jax.model.inputs import EncodedScreens, Prompts, Screens
from mobile_r1_jax.model.rotary import Rotation
from mobile_r1_jax.model.text import LayerKV, TextModel
from mobile_r1_jax.model.vision import VisionTower


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Cache:
    """What decoding reads: the prompts' keys once, and the keys of their completions so far. KV lie across, and heads
    before columns, as `attention` reads them; layers are kept apart, so that they are written in place."""

    prompt: LayerKV  # per layer k [B, K, H, P], v [B, K, P, H], shared by the G completions of a prompt
    prompt_mask: jax.Array  # [B, P] bool
    start: jax.Array  # [B] int32: position of the first completion token, on all three axes
    rotation: Rotation  # [B, C, H / 2]: of the positions of the completions' tokens
    own: LayerKV  # per layer k [B * G, K, H, C], v [B * G, K, C, H]


class Policy(nnx.Module):
    """Qwen2.5-VL. A pytree: pass it through `jax.jit` and `jax.grad` as it is."""

    def __init__(
        self,
        config: PolicyConfig,
        *,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
        param_dtype: jnp.dtype = jnp.float32,
        remat: str = "none",
        kernel: Kernel | None = None,
    ) -> None:
        """Random weights (normal, 0.02).

        dtype: of the computation; remat: a name from layers.REMAT_POLICIES; kernel: of attention, None for the one that
        suits this machine."""
        kernel = kernel_for(jax.default_backend()) if kernel is None else kernel
        kinds = {"dtype": dtype, "param_dtype": param_dtype, "remat": remat, "kernel": kernel, "rngs": rngs}
        self.vision = VisionTower(config.vision, **kinds)
        self.text = TextModel(config.text, **kinds)
        self.config = config

    def encode_screens(self, screens: Screens | EncodedScreens) -> jax.Array:
        """Screens to the tokens [R * W * 16, D], or [N * M, D], that Prompts.image_index points into."""
        tokens = jnp.asarray(screens.tokens) if isinstance(screens, EncodedScreens) else self.vision(screens)
        return tokens.reshape(-1, tokens.shape[-1])

    def embed_prompts(self, screens: Screens | EncodedScreens, prompts: Prompts) -> jax.Array:
        """Embedded prompts [B, P, D]: text from the embedding, image tokens from the screens."""
        x = self.text.embed(prompts.ids)
        if jax.tree.leaves(screens)[0].shape[0] == 0:
            return x
        index = jnp.asarray(prompts.image_index)
        seen = self.encode_screens(screens)[jnp.maximum(index, 0)]
        return jnp.where(index[..., None] >= 0, seen, x)

    def completion_hidden(
        self, screens: Screens | EncodedScreens, prompts: Prompts, completion_ids: jax.Array, completion_mask: jax.Array
    ) -> jax.Array:
        """Hidden states [B, G, C, D], final-normed, that predict each completion token.

        The prompt is computed once and its G completions attend to it; gradients through it are those of the prompt
        repeated G times. The first completion token is predicted from the prompt's last valid position.

        Args:
          completion_ids: [B, G, C] int32; completion_mask: [B, G, C] bool, padding on the right (its ids are not read).
        """
        completions = self.text.embed(jnp.where(completion_mask, completion_ids, 0))
        embedded, place = self.embed_prompts(screens, prompts), (_start(prompts), _last(prompts))
        last, own = self.text.run_group(embedded, prompts.positions, prompts.mask, completions, *place)
        last = jnp.broadcast_to(last[:, None, None], (*own.shape[:2], 1, own.shape[3]))
        return self.text.norm(jnp.concatenate([last, own[:, :, :-1]], axis=2))

    def prefill(
        self,
        screens: Screens | EncodedScreens,
        prompts: Prompts,
        *,
        group: int,
        max_tokens: int,
        before: tuple[KV, jax.Array] | None = None,
    ) -> tuple[jax.Array, Cache]:
        """Run the prompts once; returns the hidden states [B, D] that predict the first token, and a cache with room
        for `group` completions of `max_tokens` tokens each.

        before: where `prompts` are but the rest of prompts, the keys of their beginnings, stacked, and a mask [B, P']
        of those that are there, as `TextModel.run_prompt` takes them. The cache returned does not hold them."""
        embedded = self.embed_prompts(screens, prompts)
        hidden, keys = self.text.run_prompt(embedded, prompts.positions, _last(prompts)[:, None], *(before or ()))
        batch, _, kv_heads, width = keys[0].k.shape
        room = jnp.zeros((batch * group, kv_heads, width, max_tokens), keys[0].k.dtype)
        own = (KV(room, jnp.moveaxis(room, -1, -2)),) * len(keys)
        start = _start(prompts)
        rotation = self.text.rotation_from(start, max_tokens)
        # Behind a barrier, or XLA on a CPU would put them across anew at every token.
        prompt = jax.lax.optimization_barrier(tuple(map(to_cache_layout, keys)))
        return hidden[:, 0], Cache(prompt, jnp.asarray(prompts.mask), start, rotation, own)

    def decode_step(self, cache: Cache, tokens: jax.Array, step: jax.Array) -> tuple[jax.Array, Cache]:
        """Feed the step-th token [B, G] of each completion; returns hidden [B, G, D] that predicts the next, and the
        cache with the token in it."""
        rotation = jax.tree.map(lambda part: part[:, step, None], cache.rotation)
        hidden, own = self.text.run_step(
            self.text.embed(tokens), rotation, step, cache.prompt, cache.prompt_mask, cache.own
        )
        return hidden, replace(cache, own=own)


def to_compute_dtype(policy: Policy) -> Policy:
    """The policy with its weights in the dtype that it computes in: the same answers bit by bit, since every use casts
    to it, from half the bytes where that is bfloat16. Arrays that are in it already are shared."""
    return jax.tree.map(lambda leaf: leaf.astype(policy.text.dtype), policy)


def _start(prompts: Prompts) -> jax.Array:
    """[B] int32: the position after the prompt's highest; 0 in a row of padding."""
    return jnp.max(jnp.where(prompts.mask, jnp.asarray(prompts.positions).max(axis=0), -1), axis=-1) + 1


def _last(prompts: Prompts) -> jax.Array:
    """[B] int32: the column of each prompt's last valid token; 0 in a row of padding."""
    return jnp.maximum(jnp.sum(prompts.mask, axis=-1, dtype=jnp.int32) - 1, 0)
