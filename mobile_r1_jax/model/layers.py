"""The layers of both towers: linear maps, RMSNorm, the gated feed-forward, and stacks of layers for a scan."""

from collections.abc import Callable
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

Layer = TypeVar("Layer", bound=nnx.Module)
LayerLoop = Literal["scan", "unroll"]

ROWS = ("replica", "fsdp")  # mesh axes that the rows of a batch are split over
INITIAL_STD = 0.02  # standard deviation of every matrix, as in Qwen's config.json (initializer_range)

# What a scan over layers saves for its backward pass.
REMAT_POLICIES = {
    "none": None,  # everything: fastest, most memory
    "matmuls": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # outputs of the linear maps
    "full": jax.checkpoint_policies.nothing_saveable,  # the input of each layer alone
}


def matmul_rows(x: jax.Array, y: jax.Array, *, dtype: jnp.dtype | None = None) -> jax.Array:
    """Return x [*lead, ..., M] times y [*lead, M, N]: [*lead, ..., N] in `dtype`, or in the dtype of x if it is None.

    The rows of x become one axis, and so one matmul. With several axes, the gradient of y would sum over all of them.
    For such a sum, XLA on a CPU first recomputes and transposes the other factor element by element.
    """
    lead = x.shape[: y.ndim - 2]
    rows = x.reshape(*lead, -1, x.shape[-1])
    return jnp.matmul(rows, y, preferred_element_type=dtype).reshape(*x.shape[:-1], y.shape[-1])


def matmul_table(x: jax.Array, table: jax.Array, *, dtype: jnp.dtype) -> jax.Array:
    """Return x [..., M] times the transpose of an embedding table [N, M]: [..., N] in `dtype`."""
    return matmul_rows(x, table.T, dtype=dtype)


class Adapter(nnx.Module):
    """LoRA's addition to a linear map: scale * x A B, with a [in, r] and b [r, out]. It computes in the dtype of x."""

    def __init__(self, a: jax.Array, b: jax.Array, *, scale: float) -> None:
        self.a, self.b, self.scale = nnx.LoRAParam(a), nnx.LoRAParam(b), scale

    def __call__(self, x: jax.Array) -> jax.Array:
        return matmul_rows(matmul_rows(x, self.a[...].astype(x.dtype)), self.b[...].astype(x.dtype)) * self.scale


class Linear(nnx.Module):
    """y = x W (+ b) (+ adapter); kernel [in, out], bias [out]. It computes in the dtype of x."""

    def __init__(self, inner: int, outer: int, *, bias: bool, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(INITIAL_STD * jax.random.normal(rngs.params(), (inner, outer), dtype))
        self.bias = nnx.Param(jnp.zeros((outer,), dtype)) if bias else None
        self.adapter: Adapter | None = nnx.data(None)  # set by lora.with_adapters
        self.matmul = matmul_rows  # of x and the kernel; another one belongs to another layout of the kernel

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.matmul(x, self.kernel[...].astype(x.dtype))
        if self.adapter is not None:
            y += self.adapter(x)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


class RMSNorm(nnx.Module):
    """x / rms(x) * scale over the last axis, computed in float32, returned in the dtype of x."""

    def __init__(self, width: int, *, eps: float, dtype: jnp.dtype) -> None:
        self.scale = nnx.Param(jnp.ones((width,), dtype))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.astype(jnp.float32).reshape(-1, x.shape[-1])  # a leading axis of 1 makes sums slow on a CPU
        y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + self.eps)
        return (y.astype(x.dtype) * self.scale[...].astype(x.dtype)).reshape(x.shape)


class FeedForward(nnx.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, width: int, inner: int, *, bias: bool, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        self.gate = Linear(width, inner, bias=bias, dtype=dtype, rngs=rngs)
        self.up = Linear(width, inner, bias=bias, dtype=dtype, rngs=rngs)
        self.down = Linear(inner, width, bias=bias, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


def stack_layers(make: Callable[[nnx.Rngs], Layer], layers: int, rngs: nnx.Rngs) -> Layer:
    """Return one module of `layers` layers; every parameter has a leading axis L."""
    return nnx.vmap(make)(nnx.Rngs(params=jax.random.split(rngs.params(), layers)))


def take_layer(layers: Layer, number: int) -> Layer:
    """Return one layer of a stack."""
    return jax.tree.map(lambda stacked: stacked[number], layers)


def loop_for(platform: str) -> LayerLoop:
    """Return how a platform, named as by `jax.default_backend()`, runs stacked layers fastest.

    On a CPU a scan would copy a layer's weights out of the stack, and saved activations into stacks and back."""
    return "unroll" if platform == "cpu" else "scan"


def remat(body: Callable, policy: str, *, looped: bool = True) -> Callable:
    """Wrap the body of a scan over layers in `jax.checkpoint` by the name of a REMAT_POLICIES entry.

    looped: False if the layers are unrolled. Then the compiler must not merge recomputed values with the first ones."""
    if policy not in REMAT_POLICIES:
        raise ValueError(f"remat: {policy!r} is unknown, choose one of {', '.join(REMAT_POLICIES)}")
    if policy == "none":
        return body
    return jax.checkpoint(body, policy=REMAT_POLICIES[policy], prevent_cse=not looped)


def shard_rows(x: jax.Array) -> jax.Array:
    """Keep the batch axis of x, its first, split over ROWS of the mesh in context (`jax.set_mesh`).

    So the compiler gathers weights and not activations. Without a mesh, return x unchanged."""
    if jax.sharding.get_abstract_mesh().empty:
        return x
    rest = (PartitionSpec.UNCONSTRAINED,) * (x.ndim - 1)
    return jax.lax.with_sharding_constraint(x, PartitionSpec(ROWS, *rest))
