"""What the machine can do, and what a piece of work asks of it at least: how near to its limit a measurement is."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from benchmarks.peers.work import Encoding, Update, Work
from mobile_r1_jax.model.config import PolicyConfig
from mobile_r1_jax.planning.chips import CHIPS

REPETITIONS = 5
TPU_KINDS = {"TPU v5 lite": "v5e", "TPU v5e": "v5e", "TPU v5": "v5p", "TPU v5p": "v5p", "TPU v6 lite": "v6e"}
SIZES = {True: (1024, 2**28), False: (8192, 2**32)}  # on a CPU or not: side of the matrices, bytes that are copied


@dataclass(frozen=True)
class Limits:
    """Of all devices together."""

    flops: float  # operations a second of a plain matrix product in the dtype of the computation
    bandwidth: float  # bytes a second that a copy reads and writes
    source: str  # "measured", or whose figures they are

    def __str__(self) -> str:
        return f"matmul {self.flops / 1e9:,.0f} GFLOP/s, memory {self.bandwidth / 1e9:,.1f} GB/s"


def measure_limits(dtype: jnp.dtype) -> Limits:
    """The best of a few repetitions: other work on the machine can only slow them down."""
    side, size = SIZES[jax.default_backend() == "cpu"]
    matrix = jnp.ones((side, side), dtype)
    arrays = [jnp.ones((size // 8,), jnp.float32)]  # read as size / 2 bytes, written as as many
    product, copy = jax.jit(jnp.matmul), jax.jit(lambda x: x + 1, donate_argnums=0)  # no new pages from the kernel

    def copied() -> jax.Array:
        arrays.append(copy(arrays.pop()))
        return arrays[0]

    devices = jax.device_count()
    flops = 2 * side**3 / _best(lambda: product(matrix, matrix))
    bandwidth = size / _best(copied)
    return Limits(devices * flops, devices * bandwidth, "measured")


def stated_limits() -> Limits | None:
    """What the maker says of the devices, in bfloat16; None where they are none of those that we know."""
    kind, count = jax.devices()[0].device_kind, jax.device_count()
    name = TPU_KINDS.get(kind) or next((name for name in CHIPS if f" {name}" in kind.lower()), None)
    return Limits(count * CHIPS[name].flops, count * CHIPS[name].bandwidth, "stated by the maker") if name else None


def _best(run: Callable[[], jax.Array]) -> float:
    jax.block_until_ready(run())
    seconds = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - began)
    return min(seconds)


@dataclass(frozen=True)
class Needs:
    """The least that a piece of work takes: causal attention at half, nothing recomputed, a group's prompt once.

    bytes: that decoding reads, weights and key-value caches; 0 where the work is not of that kind.
    """

    flops: float
    bytes: float = 0.0


def needs_of(work: Work, config: PolicyConfig, itemsize: int) -> Needs:
    """itemsize: bytes of a number in the dtype of the computation."""
    if isinstance(work, Encoding):
        return Needs(_tower_flops(work, config))
    text = config.text
    kv_width = text.kv_heads * text.head_width
    weights = text.layers * text.width * (2 * text.width + 2 * kv_width + 3 * text.feed_forward)
    head = text.vocab * text.width
    pair = 4 * text.layers * text.width  # operations for a query and a key: score and weighted sum
    rows = work.prompts * work.group
    prompts, said = work.prompts * work.prompt, rows * work.tokens
    to_prompt = work.prompts * work.prompt**2 / 2 + said * work.prompt
    forward = 2 * weights * (prompts + said) + 2 * head * said + pair * (to_prompt + said * work.tokens / 2)
    if isinstance(work, Update):
        return Needs(3 * forward)
    own = rows * work.tokens / 2  # tokens in the own caches, on average
    cached = 2 * text.layers * kv_width * (prompts + own)
    return Needs(forward, itemsize * work.tokens * (weights + head + cached))


def _tower_flops(work: Encoding, config: PolicyConfig) -> float:
    vision = config.vision
    patches = (work.width // vision.patch) * (work.height // vision.patch)
    merged = vision.width * vision.merge**2
    per_patch = vision.layers * (4 * vision.width**2 + 3 * vision.width * vision.feed_forward)
    per_patch += vision.patch_values * vision.width
    merger = patches / vision.merge**2 * merged * (merged + vision.out_width)
    full = len(vision.full_attention)
    seen = full * patches + (vision.layers - full) * vision.window_patches
    return work.screens * (2 * (patches * per_patch + merger) + 4 * vision.width * patches * seen)
