"""Rotary positions: M-RoPE of the text model and the two-dimensional one of the vision tower."""

import jax
import jax.numpy as jnp
import numpy as np


def mrope(positions: jax.Array, *, head_width: int, section: tuple[int, ...], theta: float) -> jax.Array:
    """Angles of multimodal rotary positions (Qwen2-VL paper, section 2.1).

    Args:
      positions: [3, ...] int32 (time, row, column).
      section: how many of the head_width / 2 frequencies turn with each axis.

    Returns:
      [..., head_width / 2] float32, radians.
    """
    frequencies = 1.0 / theta ** (np.arange(0, head_width, 2, dtype=np.float32) / head_width)
    axis = np.repeat(np.arange(len(section)) % 3, section)
    return jnp.moveaxis(positions[axis], 0, -1).astype(jnp.float32) * frequencies


def rope_2d(positions: jax.Array, *, head_width: int, theta: float) -> jax.Array:
    """Angles of two-dimensional rotary positions: the first half of the frequencies turns with the row, the second
    with the column.

    Args:
      positions: [..., 2] int32 (row, column) in patches.

    Returns:
      [..., head_width / 2] float32, radians.
    """
    half = head_width // 2
    frequencies = 1.0 / theta ** (np.arange(0, half, 2, dtype=np.float32) / half)
    angles = positions[..., None].astype(jnp.float32) * frequencies
    return angles.reshape(*positions.shape[:-1], half)


def rotate(x: jax.Array, angles: jax.Array) -> jax.Array:
    """Turn pairs (i, i + H / 2) of the heads in x [..., heads, H] by angles [..., H / 2], in float32."""
    cos, sin = jnp.cos(angles)[..., None, :], jnp.sin(angles)[..., None, :]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)
