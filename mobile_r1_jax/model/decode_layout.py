"""The weights of the policy as decoding reads them: whole along "fsdp"; on a CPU one transposed array per layer."""

import jax
import jax.numpy as jnp
from flax import nnx

from mobile_r1_jax.model.layers import Linear, take_layer
from mobile_r1_jax.model.policy import Policy, to_compute_dtype
from mobile_r1_jax.model.sharding import gather_weights
from mobile_r1_jax.model.text import TextModel


def sampling_copy(policy: Policy) -> Policy:
    """Return a copy of the policy for fast sampling: in its compute dtype, its language model gathered along "fsdp".

    If the policy unrolls its layers, the copy also has them in separate arrays."""
    policy = gather_weights(to_compute_dtype(policy))
    if policy.text.loop == "unroll":
        policy.text = unstack_layers(policy.text)
    return policy


@jax.jit
def unstack_layers(text: TextModel) -> TextModel:
    """Return the language model for decoding on a CPU, with a copy of its layers in separate, transposed arrays.

    From the stack, XLA on a CPU copies a layer's weights at every token; the copy takes longer than the layer. A TPU
    reads the stack in place, and has no memory for two copies."""
    layers = []
    for number in range(text.config.layers):
        layer = take_layer(text.layers, number)
        for _, module in nnx.iter_modules(layer):
            if isinstance(module, Linear):
                module.kernel, module.matmul = nnx.Param(module.kernel[...].T), matmul_transposed
        layers.append(layer)
    text = nnx.clone(text)
    text.decode_layers, text.matmul_table = nnx.data(tuple(layers)), matmul_transposed
    return text


def matmul_transposed(x: jax.Array, transposed: jax.Array, *, dtype: jnp.dtype | None = None) -> jax.Array:
    """Return x [..., M] times the transpose of `transposed` [N, M]: [..., N] in `dtype`, or in x's if it is None.

    This is the fastest way to multiply a few rows on a CPU: with the weights as the first factor, up to 32 rows take a
    fifth less time. The barriers keep XLA from swapping the factors back."""
    columns = jax.lax.optimization_barrier(x.reshape(-1, x.shape[-1]).T)
    y = jnp.matmul(transposed, columns, preferred_element_type=dtype)
    return jax.lax.optimization_barrier(y).T.reshape(*x.shape[:-1], -1)
