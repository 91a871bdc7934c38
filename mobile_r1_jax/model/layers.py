"""The layers of both towers: linear maps, RMSNorm, the gated feed-forward, and stacks of layers for a scan."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

Layer = TypeVar("Layer", bound=nnx.Module)

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


def matmul_transposed(transposed: jax.Array, x: jax.Array, *, dtype: jnp.dtype | None = None) -> jax.Array:
    """Return x [..., M] times the transpose of `transposed` [N, M]: [..., N] in `dtype`, or in x's if it is None.

    This is the fastest way to multiply a few rows on a CPU: with the weights as the first factor, up to 32 rows take a
    fifth less time. The barriers keep XLA from swapping the factors back."""
    columns = jax.lax.optimization_barrier(x.reshape(-1, x.shape[-1]).T)
    y = jnp.matmul(transposed, columns, preferred_element_type=dtype)
    return jax.lax.optimization_barrier(y).T.reshape(*x.shape[:-1], -1)


class Adapter(nnx.Module):
    """LoRA's addition to a linear map: scale * x A B, with a [in, r] and b [r, out]. It computes in the dtype of x."""

    def __init__(self, a: jax.Array, b: jax.Array, *, scale: float) -> None:
        self.a, self.b, self.scale = nnx.LoRAParam(a), nnx.LoRAParam(b), scale

    def __call__(self, x: jax.Array) -> jax.Array:
        return matmul_rows(matmul_rows(x, self.a[...].astype(x.dtype)), self.b[...].astype(x.dtype)) * self.scale


class Linear(nnx.Module):
    """y = x W (+ b) (+ adapter); kernel [in, out], bias [out]. It computes in the dtype of x.

    transposed: the kernel is [out, in], which is faster for a few rows on a CPU."""

    def __init__(self, inner: int, outer: int, *, bias: bool, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(INITIAL_STD * jax.random.normal(rngs.params(), (inner, outer), dtype))
        self.bias = nnx.Param(jnp.zeros((outer,), dtype)) if bias else None
        self.adapter: Adapter | None = nnx.data(None)  # set by lora.with_adapters
        self.transposed = False  # set by text.unstack_layers

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...].astype(x.dtype)
        y = matmul_transposed(kernel, x) if self.transposed else matmul_rows(x, kernel)
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
