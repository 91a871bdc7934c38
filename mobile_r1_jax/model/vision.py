"""The vision tower: patches to tokens of the text model's width, with window attention and a few full layers."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mobile_r1_jax.model.config import VisionConfig
from mobile_r1_jax.model.inputs import Screens
from mobile_r1_jax.model.layers import INITIAL_STD, FeedForward, Linear, RMSNorm, by_rows, remat, stacked
from mobile_r1_jax.model.rotary import rope_2d, rotate

NORM_EPS = 1e-6  # fixed in Qwen2.5-VL's vision tower
MASKED = -1e30  # finite, so that rows of padding alone give a harmless uniform distribution


class VisionLayer(nnx.Module):
    """Pre-norm attention and feed-forward. The q, k, v kernel is one [D, 3, D], so that each third shards alike."""

    def __init__(self, config: VisionConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        width = config.width
        self.attention_norm = RMSNorm(width, eps=NORM_EPS, dtype=dtype)
        self.qkv_kernel = nnx.Param(INITIAL_STD * jax.random.normal(rngs.params(), (width, 3, width), dtype))
        self.qkv_bias = nnx.Param(jnp.zeros((3, width), dtype))
        self.out = Linear(width, width, bias=True, dtype=dtype, rngs=rngs)
        self.feed_forward_norm = RMSNorm(width, eps=NORM_EPS, dtype=dtype)
        self.feed_forward = FeedForward(width, config.feed_forward, bias=True, dtype=dtype, rngs=rngs)
        self.heads = config.heads

    def __call__(self, x: jax.Array, angles: jax.Array, mask: jax.Array, full: jax.Array | bool) -> jax.Array:
        """x [N, W, S, D], angles [N, W, S, H / 2], mask [N, W, S]; `full`: attend over the screen, not the window."""
        y = self.attention_norm(x)
        kernel, bias = (variable[...].astype(x.dtype) for variable in (self.qkv_kernel, self.qkv_bias))
        qkv = jnp.einsum("nwsd,dte->nwste", y, kernel) + bias
        q, k, v = (qkv[..., i, :].reshape(*x.shape[:-1], self.heads, -1) for i in range(3))
        q, k = rotate(q, angles), rotate(k, angles)
        if isinstance(full, bool):
            attended = (_attend_screen if full else _attend)(q, k, v, mask)
        else:
            attended = jax.lax.cond(full, _attend_screen, _attend, q, k, v, mask)
        x = by_rows(x + self.out(attended.reshape(x.shape)))
        return by_rows(x + self.feed_forward(self.feed_forward_norm(x)))


def _attend(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
    """Attention inside each window: q, k, v [N, W, S, A, H], mask [N, W, S] of keys; returns [N, W, S, A, H]."""
    scores = jnp.einsum("nwsah,nwtah->nwast", q * q.shape[-1] ** -0.5, k, preferred_element_type=jnp.float32)
    scores = jnp.where(mask[:, :, None, None, :], scores, MASKED)
    return jnp.einsum("nwast,nwtah->nwsah", jax.nn.softmax(scores).astype(v.dtype), v)


def _attend_screen(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
    """Attention over all windows of a screen; shapes as `_attend`."""
    screens, windows, patches = mask.shape
    joined = (screens, 1, windows * patches)
    q, k, v = (part.reshape(*joined, *part.shape[3:]) for part in (q, k, v))
    out = _attend(q, k, v, mask.reshape(joined))
    return out.reshape(screens, windows, patches, *out.shape[3:])


class VisionTower(nnx.Module):
    """Screens to merged tokens, raster order within each screen."""

    def __init__(
        self, config: VisionConfig, *, dtype: jnp.dtype, param_dtype: jnp.dtype, remat: str, rngs: nnx.Rngs
    ) -> None:
        merged = config.width * config.merge**2
        self.patch_embedding = Linear(config.patch_values, config.width, bias=False, dtype=param_dtype, rngs=rngs)
        self.layers = stacked(lambda rngs: VisionLayer(config, dtype=param_dtype, rngs=rngs), config.layers, rngs)
        self.merger_norm = RMSNorm(config.width, eps=NORM_EPS, dtype=param_dtype)
        self.merger_up = Linear(merged, merged, bias=True, dtype=param_dtype, rngs=rngs)
        self.merger_down = Linear(merged, config.out_width, bias=True, dtype=param_dtype, rngs=rngs)
        self.config, self.dtype, self.remat = config, dtype, remat

    def __call__(self, screens: Screens) -> jax.Array:
        """Encode N screens to [N, M, D] in the compute dtype; beyond a screen's last token: no meaning."""
        config = self.config
        x = self.patch_embedding(jnp.asarray(screens.patches).astype(self.dtype))
        angles = rope_2d(
            jnp.asarray(screens.positions), head_width=config.width // config.heads, theta=config.rope_theta
        )
        mask = jnp.asarray(screens.mask)
        is_full = np.isin(np.arange(config.layers), config.full_attention)
        # One window is the whole screen; then, as when all layers are of one kind, there is nothing to choose.
        alike = mask.shape[1] == 1 or is_full.all() or not is_full.any()

        def body(x: jax.Array, scanned: tuple[VisionLayer, jax.Array]) -> tuple[jax.Array, None]:
            layer, full = scanned
            return layer(x, angles, mask, bool(is_full[0]) if alike else full), None

        x, _ = jax.lax.scan(remat(body, self.remat), x, (self.layers, jnp.asarray(is_full)))
        x = self.merger_norm(x).reshape(x.shape[0], -1, config.width * config.merge**2)
        x = self.merger_down(jax.nn.gelu(self.merger_up(x), approximate=False))
        return jnp.take_along_axis(x, jnp.asarray(screens.raster)[..., None], axis=1)
