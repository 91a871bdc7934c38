"""LoRA on the language model: W + alpha / r * A B. A and B are trained, W is frozen. [arXiv:2106.09685]

Training and sampling add the adapters' output to that of W; a run never merges them into its weights. A merged copy
would need the memory of a second policy, and bfloat16 would round most of a small A B away. The trained policy, the
sampler and the reference share one base. The base is held in its compute dtype, which changes no result
(`policy.to_compute_dtype`).

An export as a Hugging Face model merges them, one layer at a time, in float32 (`merge_on_read`).
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mobile_r1_jax.model.checkpoints.tensors import Shape
from mobile_r1_jax.model.config import PolicyConfig
from mobile_r1_jax.model.layers import Adapter, Linear
from mobile_r1_jax.model.lora_settings import PROJECTIONS, LoRA
from mobile_r1_jax.model.policy import Policy

Read = Callable[[str, int | None], Any]  # as `huggingface.write_model` takes it
# A [L, in, r], B [L, r, out], scale. A and B are arrays, or objects that give arrays when sliced.
Matrices = tuple[Any, Any, float]


def with_adapters(policy: Policy, settings: LoRA, *, key: jax.Array) -> Policy:
    """Return the policy with new float32 adapters, whose output is zero. It shares all other arrays.

    As in PEFT, A [L, in, r] is uniform in +-1 / sqrt(in) (Kaiming's with a = sqrt(5)) and B [L, r, out] is zero. They
    are on JAX's default device; `shard_policy` places them on a mesh.
    """
    policy = nnx.clone(policy)
    for name in settings.projections:
        linear = _linear(policy, PROJECTIONS[name])
        layers, inner, outer = linear.kernel.shape
        # The initial values of a projection do not depend on which other projections have adapters.
        own = jax.random.fold_in(key, list(PROJECTIONS).index(name))
        a = jax.random.uniform(own, (layers, inner, settings.rank), minval=-1, maxval=1) * inner**-0.5
        linear.adapter = Adapter(a, jnp.zeros((layers, settings.rank, outer)), scale=settings.scale)
    return policy


def has_adapters(state: nnx.State) -> bool:
    return any(isinstance(variable, nnx.LoRAParam) for _, variable in nnx.to_flat_state(state))


def adapter_shapes(config: PolicyConfig, settings: LoRA) -> dict[str, Shape]:
    """Return path -> shape of the adapters' matrices, such as "text.layers.q.adapter.a". Nothing is allocated."""
    policy = nnx.eval_shape(lambda: with_adapters(Policy(config, rngs=nnx.Rngs(0)), settings, key=jax.random.key(0)))
    return {".".join(path): variable.shape for path, variable in nnx.to_flat_state(nnx.state(policy, nnx.LoRAParam))}


def adapters_of(policy: Policy) -> dict[str, Matrices]:
    """Return path -> matrices and scale of every linear map with an adapter, such as "text.layers.q"."""
    found = {path: _linear(policy, path).adapter for path in PROJECTIONS.values()}
    return {path: (one.a[...], one.b[...], one.scale) for path, one in found.items() if one is not None}


def merge_on_read(read: Read, adapters: Mapping[str, Matrices]) -> Read:
    """Return a function that reads as `read` does and merges in the adapters: W + scale * A B, in float32.

    adapters: as `adapters_of` returns them."""

    def read_merged(path: str, layer: int | None) -> Any:
        linear = path.removesuffix(".kernel")
        if linear == path or linear not in adapters:
            return read(path, layer)
        a, b, scale = adapters[linear]
        added = np.asarray(a[layer], np.float32) @ np.asarray(b[layer], np.float32)
        return np.asarray(read(path, layer)).astype(np.float32) + np.float32(scale) * added

    return read_merged


def _linear(policy: Policy, path: str) -> Linear:
    found: Any = policy
    for part in path.split("."):
        found = getattr(found, part)
    return found
