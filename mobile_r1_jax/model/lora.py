"""LoRA on the language model: W + alpha / r * A B, where A and B learn and W does not. [arXiv:2106.09685]

Adapters are applied on the fly, in training and in sampling alike, and never merged into the weights that a run
computes with: a merged copy would be a second policy in memory, and in bfloat16 it would round most of a small A B
away, so that what samples were not what learns. As it is, both are one function of the same arrays, and the policy that
learns, the one that samples and the reference share one base. The base never learns, so it is held in the dtype that is
computed in, which changes no answer (`policy.to_compute_dtype`).

They are merged where a policy leaves as a Hugging Face model, a layer at a time and in float32 (`merge_on_read`).
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
# A [L, in, r], B [L, r, out], scale; for arrays there may stand what can be sliced into them.
Matrices = tuple[Any, Any, float]


def with_adapters(policy: Policy, settings: LoRA, *, key: jax.Array) -> Policy:
    """The policy with new adapters, float32, that change nothing yet; it shares the other arrays.

    As in PEFT, A [L, in, r] is uniform in +-1 / sqrt(in) (Kaiming's with a = sqrt(5)) and B [L, r, out] is zero. They
    are where JAX puts new arrays: `shard_policy` places them on a mesh.
    """
    policy = nnx.clone(policy)
    for name in settings.projections:
        linear = _linear(policy, PROJECTIONS[name])
        layers, inner, outer = linear.kernel.shape
        # Which projections there are changes nothing about what one of them begins with.
        own = jax.random.fold_in(key, list(PROJECTIONS).index(name))
        a = jax.random.uniform(own, (layers, inner, settings.rank), minval=-1, maxval=1) * inner**-0.5
        linear.adapter = Adapter(a, jnp.zeros((layers, settings.rank, outer)), scale=settings.scale)
    return policy


def has_adapters(state: nnx.State) -> bool:
    return any(isinstance(variable, nnx.LoRAParam) for _, variable in nnx.to_flat_state(state))


def adapter_shapes(config: PolicyConfig, settings: LoRA) -> dict[str, Shape]:
    """Path, such as "text.layers.q.adapter.a" -> shape, of every adapter's two matrices; nothing is allocated."""
    made = nnx.eval_shape(lambda: with_adapters(Policy(config, rngs=nnx.Rngs(0)), settings, key=jax.random.key(0)))
    return {".".join(path): variable.shape for path, variable in nnx.to_flat_state(nnx.state(made, nnx.LoRAParam))}


def adapters_of(policy: Policy) -> dict[str, Matrices]:
    """Path of every linear map that has an adapter, such as "text.layers.q" -> the adapter's matrices and scale."""
    found = {path: _linear(policy, path).adapter for path in PROJECTIONS.values()}
    return {path: (one.a[...], one.b[...], one.scale) for path, one in found.items() if one is not None}


def merge_on_read(read: Read, adapters: Mapping[str, Matrices]) -> Read:
    """Reads what `read` does, with the adapters of `adapters_of` merged in: W + scale * A B in float32."""

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
