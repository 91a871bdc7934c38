"""The limits of the machine, and the minimum cost of a piece of work."""

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
SIZES = {True: (1024, 2**28), False: (8192, 2**32)}  # key: on a CPU; value: side of the matrices, bytes copied


@dataclass(frozen=True)
class Limits:
    """The limits of all devices together."""

    flops: float  # operations per second of a matrix product in the dtype of the computation
    bandwidth: float  # bytes per second that a copy reads and writes
    source: str  # "measured", or the source of the figures

    def __str__(self) -> str:
        return f"matmul {self.flops / 1e9:,.0f} GFLOP/s, memory {self.bandwidth / 1e9:,.1f} GB/s"


def measure_limits(dtype: jnp.dtype) -> Limits:
    """Measure the limits: the best of a few repetitions, because other work on the machine only slows them down."""
    side, size = SIZES[jax.default_backend() == "cpu"]
    matrix = jnp.ones((side, side), dtype)
    arrays = [jnp.ones((size // 8,), jnp.float32)]  # size / 2 bytes read, size / 2 bytes written
    product, copy = jax.jit(jnp.matmul), jax.jit(lambda x: x + 1, donate_argnums=0)  # donated: no new pages

    def copied() -> jax.Array:
        arrays.append(copy(arrays.pop()))
        return arrays[0]

    devices = jax.device_count()
    flops = 2 * side**3 / _best(lambda: product(matrix, matrix))
    bandwidth = size / _best(copied)
    return Limits(devices * flops, devices * bandwidth, "measured")


def stated_limits() -> Limits | None:
    """Return the manufacturer's bfloat16 peaks of the devices; None for unknown devices."""
    kind, count = jax.devices()[0].device_kind, jax.device_count()
    name = TPU_KINDS.get(kind) or next((name for name in CHIPS if f" {name}" in kind.lower()), None)
    return Limits(count * CHIPS[name].flops, count * CHIPS[name].bandwidth, "of the data sheet") if name else None


def _best(run: Callable[[], jax.Array]) -> float:
    jax.block_until_ready(run())
    seconds = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - began)
    return min(seconds)


@dataclass(frozen=True)
class Cost:
    """The minimum cost of work: half of the attention scores (causal), no recomputation, one prompt per group.

    bytes: weights and KV caches that decoding reads; 0 for other work.
    """

    flops: float
    bytes: float = 0.0


def count_cost(work: Work, config: PolicyConfig, itemsize: int) -> Cost:
    """Count the cost of a piece of work; itemsize: bytes of a number in the dtype of the computation."""
    if isinstance(work, Encoding):
        return Cost(_tower_flops(work, config))
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
        return Cost(3 * forward)
    own = rows * work.tokens / 2  # tokens in the own caches, on average
    cached = 2 * text.layers * kv_width * (prompts + own)
    return Cost(forward, itemsize * work.tokens * (weights + head + cached))


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
