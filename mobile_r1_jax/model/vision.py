"""The vision tower: patches to tokens of the text model's width, with window attention and a few full layers."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mobile_r1_jax.model.attention import KV, Kernel, Segments, attention
from mobile_r1_jax.model.config import VisionConfig
from mobile_r1_jax.model.inputs import Screens
from mobile_r1_jax.model.layers import INITIAL_STD, FeedForward, Linear, RMSNorm, remat, shard_rows, stack_layers
from mobile_r1_jax.model.rotary import Rotation, rope_2d, rotate

NORM_EPS = 1e-6  # fixed in Qwen2.5-VL's vision tower


class VisionLayer(nnx.Module):
    """Pre-norm attention and feed-forward. q, k and v have one kernel [D, 3, D], so that all three shard in one way."""

    def __init__(self, config: VisionConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        width = config.width
        self.attention_norm = RMSNorm(width, eps=NORM_EPS, dtype=dtype)
        self.qkv_kernel = nnx.Param(INITIAL_STD * jax.random.normal(rngs.params(), (width, 3, width), dtype))
        self.qkv_bias = nnx.Param(jnp.zeros((3, width), dtype))
        self.out = Linear(width, width, bias=True, dtype=dtype, rngs=rngs)
        self.feed_forward_norm = RMSNorm(width, eps=NORM_EPS, dtype=dtype)
        self.feed_forward = FeedForward(width, config.feed_forward, bias=True, dtype=dtype, rngs=rngs)
        self.heads = config.heads

    def __call__(
        self,
        x: jax.Array,
        rotation: Rotation,
        window: jax.Array,
        screen: jax.Array,
        full: jax.Array | bool,
        kernel: Kernel,
    ) -> jax.Array:
        """Run the layer on x [R, W, S, D], with rotation [R, W, S, H / 2].

        window, screen: [R, W, S], the segments. Attention runs within the screens of a row if `full`, else within the
        windows of a block."""
        y = self.attention_norm(x)
        weights, bias = (variable[...].astype(x.dtype) for variable in (self.qkv_kernel, self.qkv_bias))
        qkv = jnp.einsum("rwsd,dte->rwste", y, weights) + bias
        q, k, v = (qkv[..., i, :].reshape(*x.shape[:-1], self.heads, -1) for i in range(3))
        q, k = rotate(q, rotation), rotate(k, rotation)

        def windows() -> jax.Array:
            return attention(q, KV(k, v), segments=Segments(window, (window,)), kernel=kernel)

        def screens() -> jax.Array:
            queries, *kv = (part.reshape(x.shape[0], 1, -1, *part.shape[3:]) for part in (q, k, v))
            segment = screen.reshape(x.shape[0], 1, -1)
            out = attention(queries, KV(*kv), segments=Segments(segment, (segment,)), kernel=kernel)
            return out.reshape(q.shape)

        if isinstance(full, bool):
            attended = screens() if full else windows()
        else:
            attended = jax.lax.cond(full, screens, windows)
        x = shard_rows(x + self.out(attended.reshape(x.shape)))
        return shard_rows(x + self.feed_forward(self.feed_forward_norm(x)))


class VisionTower(nnx.Module):
    """The encoder of screens to merged tokens."""

    def __init__(
        self,
        config: VisionConfig,
        *,
        dtype: jnp.dtype,
        param_dtype: jnp.dtype,
        remat: str,
        kernel: Kernel,
        rngs: nnx.Rngs,
    ) -> None:
        merged = config.width * config.merge**2
        self.patch_embedding = Linear(config.patch_values, config.width, bias=False, dtype=param_dtype, rngs=rngs)
        self.layers = stack_layers(lambda rngs: VisionLayer(config, dtype=param_dtype, rngs=rngs), config.layers, rngs)
        self.merger_norm = RMSNorm(config.width, eps=NORM_EPS, dtype=param_dtype)
        self.merger_up = Linear(merged, merged, bias=True, dtype=param_dtype, rngs=rngs)
        self.merger_down = Linear(merged, config.out_width, bias=True, dtype=param_dtype, rngs=rngs)
        self.config, self.dtype, self.remat, self.kernel = config, dtype, remat, kernel

    def __call__(self, screens: Screens) -> jax.Array:
        """Encode R rows of screens to [R, W * S / merge**2, D] in the compute dtype, one token per slot. Tokens of
        padding have no meaning."""
        config = self.config
        x = self.patch_embedding(jnp.asarray(screens.patches).astype(self.dtype))
        rotation = rope_2d(
            jnp.asarray(screens.positions), head_width=config.width // config.heads, theta=config.rope_theta
        )
        window = jnp.asarray(screens.window)
        screen = jnp.where(window > 0, jnp.asarray(screens.screen)[..., None], 0)
        is_full = np.isin(np.arange(config.layers), config.full_attention)
        uniform = is_full.all() or not is_full.any()  # all layers attend in the same way

        def body(x: jax.Array, scanned: tuple[VisionLayer, jax.Array]) -> tuple[jax.Array, None]:
            layer, full = scanned
            return layer(x, rotation, window, screen, bool(is_full[0]) if uniform else full, self.kernel), None

        x, _ = jax.lax.scan(remat(body, self.remat), x, (self.layers, jnp.asarray(is_full)))
        x = self.merger_norm(x).reshape(x.shape[0], -1, config.width * config.merge**2)
        return self.merger_down(jax.nn.gelu(self.merger_up(x), approximate=False))
