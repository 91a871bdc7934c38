"""One update of the policy: the same program for format finetuning and for both GRPO stages."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from mobile_r1_jax.model.inputs import Completions, EncodedScreens, Prompts, Screens
from mobile_r1_jax.model.logps import token_logps
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.sharding import shard_batch
from mobile_r1_jax.rl import GRPO, Likelihood, Totals, count_totals, grpo_loss, likelihood_loss
from mobile_r1_jax.training.optimizer import learning_rate, make_optimizer
from mobile_r1_jax.training.optimizer_settings import OptimizerSettings
from mobile_r1_jax.training.rounding import round_like, to_float32
from mobile_r1_jax.training.state import TrainState

Metrics = dict[str, jax.Array]
Gradients = tuple[nnx.State, Metrics]
Core = tuple[jax.Array, nnx.State, optax.OptState]  # step, trained parameters, optimizer state
Execute = Callable[..., Any]  # (jitted function, its arguments) -> its results
Placement = tuple[NamedSharding | None, ...]  # shardings of a tree's arrays, in the order of its leaves
ROUNDING = 2**31 - 1  # folded into the run's PRNG key; far above any number of updates


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Batch:
    """Prompts, their completions, and the reference's log-probabilities of these."""

    screens: Screens | EncodedScreens
    prompts: Prompts
    completions: Completions  # advantages: group advantages; for format finetuning, weights (G = 1, weight 1)
    reference_logps: jax.Array | None = None  # [B, G, C] float32; required by GRPO with beta > 0


@dataclass(frozen=True)
class StepSettings:
    """Settings of a train step; static, so each distinct value compiles once."""

    loss: GRPO | Likelihood
    optimizer: OptimizerSettings
    temperature: float = 1.0  # that of the sampler
    forbidden: tuple[int, ...] = ()  # token ids that the sampler never draws

    @property
    def objective(self) -> dict[str, Any]:
        """The arguments of `batch_gradients`. They exclude the optimizer, so both GRPO stages share their programs."""
        return {"loss": self.loss, "temperature": self.temperature, "forbidden": self.forbidden}


def place_batch(batch: Batch, mesh: Mesh) -> Batch:
    """Return the batch with its rows and screens split over the mesh. Raises ValueError as `shard_batch`."""
    screens, prompts, completions = shard_batch((batch.screens, batch.prompts, batch.completions), mesh)
    reference_logps = batch.reference_logps
    if reference_logps is not None:
        reference_logps = jax.device_put(reference_logps, completions.logps.sharding)
    return Batch(screens, prompts, completions, reference_logps)


def call(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Return the results of a jitted function."""
    return function(*arguments, **keywords)


def compile_only(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Compile a jitted function, which JAX keeps, and return its results as shapes. Arguments may be shapes, too."""
    results = function.lower(*arguments, **keywords).compile().out_info
    return jax.tree.map(lambda out: jax.ShapeDtypeStruct(out.shape, out.dtype, sharding=out.sharding), results)


@partial(jax.jit, static_argnames=("temperature", "forbidden"))
def completion_logps(
    policy: Policy, batch: Batch, *, temperature: float = 1.0, forbidden: tuple[int, ...] = ()
) -> tuple[jax.Array, jax.Array]:
    """Return log-probabilities and entropies [B, G, C] float32 of the completion tokens under `policy`."""
    ids = batch.completions.ids
    hidden = policy.completion_hidden(batch.screens, batch.prompts, ids, batch.completions.mask)
    return token_logps(policy, hidden, ids, temperature=temperature, forbidden=forbidden)


def train_step(
    state: TrainState, *batches: Batch, settings: StepSettings, execute: Execute = call
) -> tuple[TrainState, Metrics]:
    """Run one update on one batch, or on several micro-batches as if they were one batch.

    Micro-batches may have different shapes; each has its own screens. Tokens and sequences are counted over the whole
    batch, so the sum of the micro-batches' gradients is the gradient of the batch. The trained parameters and the
    optimizer state of `state` are donated: do not use it, or a policy made from it, again.

    An update whose loss or gradient is not finite is skipped: step, parameters and optimizer state stay unchanged.

    execute: `compile_only` compiles the programs of the update, runs none of them, and donates nothing.

    Returns:
      the next state, and metrics: float32 scalars, still on the device, so that the call does not wait. They are loss,
      grad_norm (before clipping), learning_rate, tokens, skipped (1 or 0), and those of `grpo_loss` or
      `likelihood_loss`.
    """
    totals, *others = [execute(count_totals, batch.completions.mask) for batch in batches]
    for other in others:
        totals = execute(add_totals, totals, other)
    gradients: Gradients | None = None
    for batch in batches:
        new = execute(
            batch_gradients,
            state.trained,
            state.frozen,
            batch,
            totals,
            graph=state.graph,
            placement=placement_of(state.trained),
            **settings.objective,
        )
        gradients = new if gradients is None else execute(add_gradients, gradients, new)
    core = (state.step, state.trained, state.optimizer)
    update = update_program(placement_of(core))
    leaves, metrics = execute(update, core, gradients, totals, state.key, settings=settings.optimizer)
    step, trained, optimizer = jax.tree.unflatten(jax.tree.structure(core), leaves)
    return replace(state, step=step, trained=trained, optimizer=optimizer), metrics


# Gradients and update are separate programs. So a new batch shape does not compile the optimizer again, and another
# number of micro-batches does not compile the backward pass again.


@partial(jax.jit, static_argnames=("graph", "placement", "loss", "temperature", "forbidden"))
def batch_gradients(
    trained: nnx.State,
    frozen: nnx.State,
    batch: Batch,
    totals: Totals,
    *,
    graph: nnx.GraphDef,
    placement: Placement,
    loss: GRPO | Likelihood,
    temperature: float,
    forbidden: tuple[int, ...],
) -> Gradients:
    """Return the gradients of the trained parameters. There is no backward pass through frozen parts.

    placement: the shardings of the trained parameters; gradients get the same ones.
    """

    def loss_of(parameters: nnx.State) -> tuple[jax.Array, Metrics]:
        policy = nnx.merge(graph, parameters, frozen)
        logps, entropy = completion_logps(policy, batch, temperature=temperature, forbidden=forbidden)
        completions = batch.completions
        common = {"entropy": jax.lax.stop_gradient(entropy), "totals": totals}
        if isinstance(loss, Likelihood):
            value, metrics = likelihood_loss(logps, completions.mask, completions.advantages, settings=loss, **common)
        else:
            value, metrics = grpo_loss(
                logps,
                completions.mask,
                completions.advantages,
                settings=loss,
                sampler_logps=completions.logps,
                truncated_logps=completions.truncated_logps,
                reference_logps=batch.reference_logps,
                **common,
            )
        return value, {"loss": value, **metrics}

    gradients, metrics = jax.grad(loss_of, has_aux=True)(trained)
    leaves, structure = jax.tree.flatten(gradients)
    placed = [
        jax.lax.with_sharding_constraint(leaf, sharding) if sharding else leaf
        for leaf, sharding in zip(leaves, placement, strict=True)
    ]
    return structure.unflatten(placed), metrics


@jax.jit
def add_totals(one: Totals, other: Totals) -> Totals:
    """Return the totals of two micro-batches together."""
    return Totals(*map(jnp.add, one, other))


@partial(jax.jit, donate_argnums=0)
def add_gradients(so_far: Gradients, new: Gradients) -> Gradients:
    """Return the sum of two micro-batches' gradients and metrics."""
    metrics = {
        name: jnp.maximum(value, so_far[1][name]) if name.endswith("_max") else value + so_far[1][name]
        for name, value in new[1].items()
    }
    return jax.tree.map(jnp.add, so_far[0], new[0]), metrics


@cache
def update_program(placement: Placement) -> Callable[..., tuple[tuple[jax.Array, ...], Metrics]]:
    """Return the jitted update of a state with the shardings `placement`.

    Its result has the same shardings. Without this, the compiler may choose others, and every program that takes the
    state would compile again.
    """
    return jax.jit(_apply_update, static_argnames="settings", donate_argnums=0, out_shardings=(placement, None))


def _apply_update(
    core: Core, gradients: Gradients, totals: Totals, key: jax.Array, *, settings: OptimizerSettings
) -> tuple[tuple[jax.Array, ...], Metrics]:
    """Return the leaves of the next core, and the metrics.

    It computes in float32. Arrays in bfloat16 are rounded stochastically, by the run's PRNG key and the step number."""
    step, key = core[0], jax.random.fold_in(key, ROUNDING)
    squares = [jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(gradients[0])]
    grad_norm = jnp.sqrt(sum(squares))
    finite = jnp.isfinite(gradients[1]["loss"]) & jnp.isfinite(grad_norm)  # one bad gradient makes the norm bad
    metrics = gradients[1] | {
        "grad_norm": grad_norm,
        "skipped": 1.0 - finite.astype(jnp.float32),
        "learning_rate": jnp.asarray(learning_rate(settings)(step), jnp.float32),
        "tokens": totals.tokens,
    }

    def apply(core: Core) -> Core:
        step, *held = core
        trained, optimizer = to_float32(held)
        updates, optimizer = make_optimizer(settings).update(
            to_float32(gradients[0]), optimizer, trained, grad_norm=grad_norm
        )
        noise = jax.random.fold_in(key, step)
        return (step + 1, *round_like([optax.apply_updates(trained, updates), optimizer], held, noise))

    # A cond: with a select, both results would exist, and XLA could not update the donated arrays in place.
    core = jax.lax.cond(finite, apply, lambda core: core, core)
    return tuple(jax.tree.leaves(core)), metrics


def placement_of(tree: Any) -> Placement:
    """Return the sharding of each array; None for an array on one device."""
    shardings = (leaf.sharding for leaf in jax.tree.leaves(tree))
    return tuple(sharding if isinstance(sharding, NamedSharding) else None for sharding in shardings)
