"""Rotary positions: M-RoPE of the text model, and two-dimensional RoPE of the vision tower."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mobile_r1_jax.model.yarn import Yarn, yarn_frequencies


class Rotation(NamedTuple):
    """The rotation of each pair of a head's numbers: [..., H / 2] float32."""

    cos: jax.Array
    sin: jax.Array


def mrope(
    positions: jax.Array, *, head_width: int, section: tuple[int, ...], theta: float, yarn: Yarn | None = None
) -> Rotation:
    """Return the rotation of M-RoPE positions. [Qwen2-VL paper, section 2.1]

    Args:
      positions: [3, ...] int32 (time, row, column).
      section: how many of the head_width / 2 frequencies use each axis.
    """
    frequencies = 1.0 / theta ** (np.arange(0, head_width, 2, dtype=np.float32) / head_width)
    if yarn is not None:
        frequencies = yarn_frequencies(yarn, frequencies, theta)
    axis = np.repeat(np.arange(len(section)) % 3, section)
    rotation = _rotation(jnp.moveaxis(positions[axis], 0, -1).astype(jnp.float32) * frequencies)
    return rotation if yarn is None else Rotation(*(part * yarn.attention_factor for part in rotation))


def rope_2d(positions: jax.Array, *, head_width: int, theta: float) -> Rotation:
    """Return the rotation of two-dimensional positions: the row turns the first half of the frequencies, the column the
    second half.

    Args:
      positions: [..., 2] int32 (row, column) in patches.
    """
    half = head_width // 2
    frequencies = 1.0 / theta ** (np.arange(0, half, 2, dtype=np.float32) / half)
    angles = positions[..., None].astype(jnp.float32) * frequencies
    return _rotation(angles.reshape(*positions.shape[:-1], half))


def _rotation(angles: jax.Array) -> Rotation:
    """Return the rotation by angles in radians. The loop keeps XLA on a CPU from repeating it in every layer."""
    return Rotation(*jax.lax.map(lambda number: jax.lax.switch(number, (jnp.cos, jnp.sin), angles), jnp.arange(2)))


def rotate(x: jax.Array, rotation: Rotation) -> jax.Array:
    """Turn pairs (i, i + H / 2) of the heads in x [..., heads, H], in float32."""
    cos, sin = rotation.cos[..., None, :], rotation.sin[..., None, :]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)
