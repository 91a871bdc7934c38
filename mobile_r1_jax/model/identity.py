"""Short hashes that tell one policy from another: of its files before a run, of its weights on the devices."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from mobile_r1_jax.model.policy import Policy

FILES = ("*.safetensors", "*.safetensors.index.json", "*config.json", "tokenizer.json", "vocab.json", "merges.txt")
WHOLE = 2**30  # bytes: a file up to this size is hashed whole
SAMPLES, SAMPLE = 256, 2**20  # of a larger file, so many blocks of so many bytes, evenly spread
DIGITS = 16


def policy_files_hash(*directories: Path) -> str:
    """Return a hash (hex) of a policy's weights, configuration and tokenizer files, by their names, sizes and contents.

    Of a file above 1 GiB, 256 MiB in evenly spread blocks are read: weights that were trained further differ in them.

    Args:
      directories: of a model, or of a base model and of its adapters.
    """
    digest = hashlib.sha256()
    for directory in directories:
        for file in sorted({file for pattern in FILES for file in directory.glob(pattern)}):
            digest.update(f"{file.name} {file.stat().st_size}\n".encode())
            for block in _blocks(file):
                digest.update(block)
    return digest.hexdigest()[:DIGITS]


def weights_hash(policy: Policy) -> str:
    """Return a hash (hex) of all weights, bit by bit. It does not depend on the mesh, and reads 8 bytes an array."""
    sums = jax.device_get(_sums(jax.tree.leaves(policy)))
    return hashlib.sha256(np.asarray(sums).tobytes()).hexdigest()[:DIGITS]


def _blocks(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    with file.open("rb") as opened:
        if size <= WHOLE:
            while block := opened.read(SAMPLE):
                yield block
            return
        for number in range(SAMPLES):
            opened.seek(number * (size - SAMPLE) // (SAMPLES - 1))
            yield opened.read(SAMPLE)


@jax.jit
def _sums(arrays: list[jax.Array]) -> jax.Array:
    """Two position-dependent sums of each array's bits, modulo 2**32: [arrays, 2] uint32.

    Integer sums have no rounding, so that any sharding and order of them gives the same result.
    """

    def both(array: jax.Array) -> jax.Array:
        bits = jax.lax.bitcast_convert_type(array, jnp.dtype(f"uint{8 * array.dtype.itemsize}")).astype(jnp.uint32)
        place = jnp.zeros(array.shape, jnp.uint32)
        for axis in range(array.ndim):
            place = place * jnp.uint32(0x01000193) + jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
        mixed = (bits ^ (place * jnp.uint32(0x9E3779B1))) * jnp.uint32(0x85EBCA77)
        mixed ^= mixed >> 15
        return jnp.stack([mixed.sum(dtype=jnp.uint32), (mixed * (place | 1)).sum(dtype=jnp.uint32)])

    return jnp.stack([both(array) for array in arrays])
