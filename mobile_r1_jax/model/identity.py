"""Short hashes that identify a policy: by its files, before a run, and by its weights on the devices."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from mobile_r1_jax.model.policy import Policy

FILES = ("*.safetensors", "*.safetensors.index.json", "*config.json", "tokenizer.json", "vocab.json", "merges.txt")
WHOLE = 2**30  # bytes: a file up to this size is hashed whole
SAMPLES, SAMPLE = 256, 2**20  # number of blocks, and bytes per block, that are hashed of a larger file
DIGITS = 16


def policy_files_hash(*directories: Path) -> str:
    """Return a hash (hex) of a policy's weights, configuration and tokenizer files: their names, sizes and contents.

    Of a file above 1 GiB, it reads 256 MiB in evenly spread blocks. Further training changes weights in all blocks.

    Args:
      directories: that of a model, or those of a base model and its adapters.
    """
    digest = hashlib.sha256()
    for directory in directories:
        for file in sorted({file for pattern in FILES for file in directory.glob(pattern)}):
            digest.update(f"{file.name} {file.stat().st_size}\n".encode())
            for block in _blocks(file):
                digest.update(block)
    return digest.hexdigest()[:DIGITS]


def weights_hash(policy: Policy) -> str:
    """Return a hash (hex) of all bits of the weights. It does not depend on the mesh, and copies 8 bytes per array."""
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
    """Return two position-dependent sums of each array's bits, modulo 2**32: [arrays, 2] uint32.

    Integer sums have no rounding. So any sharding and any order give the same result.
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
