"""Everything that a training run carries from one update to the next."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.model.lora import has_adapters
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.training.optimizer import make_optimizer
from mobile_r1_jax.training.optimizer_settings import OptimizerSettings


class NonFiniteError(OneLineError):
    """Training that ran into NaN or infinity; the message names where."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """A pytree; `train_step` consumes one and returns the next."""

    step: jax.Array  # int32 scalar: updates made
    key: jax.Array  # PRNG key of the run; never replaced: each use folds in what it is for
    trained: nnx.State  # parameters that learn
    frozen: nnx.State  # parameters that don't
    optimizer: optax.OptState  # of the trained ones
    graph: nnx.GraphDef = field(metadata={"static": True})  # the policy without its parameters

    @property
    def policy(self) -> Policy:
        """The policy as it is now. It shares its arrays with this state, so the next train step invalidates it."""
        return nnx.merge(self.graph, self.trained, self.frozen)

    @property
    def trains_adapters(self) -> bool:
        """Whether adapters are all that learns; then everything frozen is as it was when the run began."""
        return has_adapters(self.trained)


def create_state(
    policy: Policy, optimizer: OptimizerSettings, *, frozen: Sequence[str] = (), key: jax.Array
) -> TrainState:
    """A state before its first update. It takes the policy's arrays over, wherever they are sharded to.

    Where the policy has adapters (lora.py), they alone learn.

    Args:
      frozen: names of the policy's parts that don't learn, such as "vision"; ValueError in one line for an unknown one.
    """
    graph, held, trained = _split(policy, frozen)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        trained=trained,
        frozen=held,
        optimizer=make_optimizer(optimizer).init(trained),
        graph=graph,
    )
    return jax.tree.map(_beside(jax.tree.leaves(trained)[0]), state)


def abstract_state(policy: Policy, optimizer: OptimizerSettings, *, frozen: Sequence[str] = ()) -> TrainState:
    """What `create_state` makes of a policy on a mesh, in shapes, dtypes and shardings alone: nothing is allocated.

    Args:
      policy: its leaves are ShapeDtypeStructs with NamedShardings.
    """
    graph, held, trained = _split(policy, frozen)
    mesh = jax.tree.leaves(trained)[0].sharding.mesh

    def whole(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, PartitionSpec()))

    transformation = make_optimizer(optimizer)
    state = optax.tree_map_params(
        transformation,
        lambda leaf, like: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=like.sharding),
        jax.eval_shape(transformation.init, trained),
        trained,
        transform_non_params=whole,
    )
    return TrainState(
        step=whole(jax.ShapeDtypeStruct((), jnp.int32)),
        key=whole(jax.eval_shape(lambda: jax.random.key(0))),
        trained=trained,
        frozen=held,
        optimizer=state,
        graph=graph,
    )


@jax.jit
def is_finite(tree: Any) -> jax.Array:
    """Return whether every number of the tree is finite: a bool scalar, still on the device."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def reference_policy(state: TrainState) -> Policy:
    """A copy of the policy that outlives train steps: trained parameters copied, frozen ones shared.

    The copy is in the dtype that the policy computes in, which changes nothing (`to_compute_dtype`).
    """
    dtype = state.policy.text.dtype
    copied = jax.tree.map(lambda leaf: jnp.array(leaf, dtype, copy=True), state.trained)
    return nnx.merge(state.graph, copied, state.frozen)


def _split(policy: Policy, frozen: Sequence[str]) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    """The policy without its parameters, the frozen ones, the trained ones."""
    if unknown := set(frozen) - set(nnx.state(policy)):
        parts = ", ".join(map(str, nnx.state(policy)))
        raise ValueError(f"frozen: the policy has no part {', '.join(map(repr, sorted(unknown)))}; it has {parts}")
    adapted = has_adapters(nnx.state(policy))

    def held(path: tuple[str, ...], variable: nnx.Variable) -> bool:
        return path[0] in frozen or (adapted and not isinstance(variable, nnx.LoRAParam))

    return nnx.split(policy, held, ...)


def _beside(parameter: jax.Array) -> Any:
    """Puts an array on the parameter's mesh, replicated, unless it is there: an array that moved there only by going
    through the first step would make the second one compile anew."""
    sharding = parameter.sharding
    if not isinstance(sharding, NamedSharding):
        return lambda array: array
    replicated = NamedSharding(sharding.mesh, PartitionSpec())
    return lambda array: array if isinstance(array.sharding, NamedSharding) else jax.device_put(array, replicated)
