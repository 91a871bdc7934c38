"""One update of the policy: the same program for format finetuning and for both GRPO stages."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from mobile_r1_jax.model.inputs import Completions, Prompts, Screens
from mobile_r1_jax.model.logps import token_logps
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.sharding import shard_batch
from mobile_r1_jax.rl import GRPO, Likelihood, Totals, count_totals, grpo_loss, likelihood_loss
from mobile_r1_jax.training.optimizer import OptimizerSettings, learning_rate, make_optimizer
from mobile_r1_jax.training.state import TrainState

Metrics = dict[str, jax.Array]
Gradients = tuple[nnx.State, Metrics]
Core = tuple[jax.Array, nnx.State, optax.OptState]  # step, trained parameters, optimizer state
Placement = tuple[NamedSharding | None, ...]  # of the leaves of a Core


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Batch:
    """Prompts, their completions, and what the reference thinks of these."""

    screens: Screens
    prompts: Prompts
    completions: Completions  # advantages: group advantages, or for format finetuning weights (G = 1, weight 1)
    reference_logps: jax.Array | None = None  # [B, G, C] float32; needed by GRPO with beta > 0


@dataclass(frozen=True)
class StepSettings:
    """What a train step does; static, so each distinct value compiles once."""

    loss: GRPO | Likelihood
    optimizer: OptimizerSettings
    temperature: float = 1.0  # the sampler's
    forbidden: tuple[int, ...] = ()  # token ids that the sampler could not choose


def place_batch(batch: Batch, mesh: Mesh) -> Batch:
    """The batch with its rows and its screens split over the mesh. ValueError as `shard_batch`."""
    screens, prompts, completions = shard_batch((batch.screens, batch.prompts, batch.completions), mesh)
    reference_logps = batch.reference_logps
    if reference_logps is not None:
        reference_logps = jax.device_put(reference_logps, completions.logps.sharding)
    return Batch(screens, prompts, completions, reference_logps)


@partial(jax.jit, static_argnames=("temperature", "forbidden"))
def completion_logps(
    policy: Policy, batch: Batch, *, temperature: float = 1.0, forbidden: tuple[int, ...] = ()
) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities and entropies [B, G, C] float32 of the batch's completion tokens, such as under a reference."""
    ids = batch.completions.ids
    hidden = policy.completion_hidden(batch.screens, batch.prompts, ids, batch.completions.mask)
    return token_logps(policy, hidden, ids, temperature=temperature, forbidden=forbidden)


def train_step(state: TrainState, *batches: Batch, settings: StepSettings) -> tuple[TrainState, Metrics]:
    """One update from one batch, or from several micro-batches as if they were one.

    Micro-batches may differ in their shapes (each has its own screens); their gradients are summed with weights as in
    the whole batch, whose tokens or sequences they are counted over. The trained parameters and the optimizer state of
    the old `state` are donated: it must not be used again, nor a policy made from it.

    Returns:
      the next state, and metrics: float32 scalars still on the device, so that fetching them is the only wait. They are
      loss, grad_norm (before clipping), learning_rate, tokens, and those of `grpo_loss` or `likelihood_loss`.
    """
    core = (state.step, state.trained, state.optimizer)
    static = {"graph": state.graph, "settings": settings}
    placement = _placement(core)
    if len(batches) == 1:
        core, metrics = _step(core, state.frozen, batches[0], placement=placement, **static)
    else:
        totals = count_totals(*(batch.completions.mask for batch in batches))
        so_far = None
        for batch in batches:
            so_far = _accumulate(so_far, state.trained, state.frozen, batch, totals, **static)
        core, metrics = _update(core, so_far, totals, settings=settings, placement=placement)
    step, trained, optimizer = core
    return replace(state, step=step, trained=trained, optimizer=optimizer), metrics


@partial(jax.jit, static_argnames=("graph", "settings", "placement"), donate_argnums=0)
def _step(
    core: Core, frozen: nnx.State, batch: Batch, graph: nnx.GraphDef, settings: StepSettings, placement: Placement
) -> tuple[Core, Metrics]:
    totals = count_totals(batch.completions.mask)
    gradients = _gradients(core[1], frozen, batch, totals, graph, settings)
    return _apply(core, gradients, totals, settings, placement)


@partial(jax.jit, static_argnames=("graph", "settings"), donate_argnums=0)
def _accumulate(
    so_far: Gradients | None,
    trained: nnx.State,
    frozen: nnx.State,
    batch: Batch,
    totals: Totals,
    graph: nnx.GraphDef,
    settings: StepSettings,
) -> Gradients:
    gradients, metrics = _gradients(trained, frozen, batch, totals, graph, settings)
    if so_far is None:
        return gradients, metrics
    summed = {
        name: jnp.maximum(value, so_far[1][name]) if name.endswith("_max") else value + so_far[1][name]
        for name, value in metrics.items()
    }
    return jax.tree.map(jnp.add, so_far[0], gradients), summed


@partial(jax.jit, static_argnames=("settings", "placement"), donate_argnums=(0, 1))
def _update(
    core: Core, gradients: Gradients, totals: Totals, settings: StepSettings, placement: Placement
) -> tuple[Core, Metrics]:
    return _apply(core, gradients, totals, settings, placement)


def _gradients(
    trained: nnx.State, frozen: nnx.State, batch: Batch, totals: Totals, graph: nnx.GraphDef, settings: StepSettings
) -> Gradients:
    """Gradients with respect to the trained parameters alone: nothing is computed backwards through frozen ones."""

    def loss_of(parameters: nnx.State) -> tuple[jax.Array, Metrics]:
        policy = nnx.merge(graph, parameters, frozen)
        logps, entropy = completion_logps(policy, batch, temperature=settings.temperature, forbidden=settings.forbidden)
        completions = batch.completions
        common = {"entropy": jax.lax.stop_gradient(entropy), "totals": totals}
        if isinstance(settings.loss, Likelihood):
            loss, metrics = likelihood_loss(
                logps, completions.mask, completions.advantages, settings=settings.loss, **common
            )
        else:
            loss, metrics = grpo_loss(
                logps,
                completions.mask,
                completions.advantages,
                settings=settings.loss,
                sampler_logps=completions.logps,
                reference_logps=batch.reference_logps,
                **common,
            )
        return loss, {"loss": loss, **metrics}

    return jax.grad(loss_of, has_aux=True)(trained)


def _apply(
    core: Core, gradients: Gradients, totals: Totals, settings: StepSettings, placement: Placement
) -> tuple[Core, Metrics]:
    step, trained, optimizer_state = core
    updates, optimizer_state = make_optimizer(settings.optimizer).update(gradients[0], optimizer_state, trained)
    squares = [jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(gradients[0])]
    metrics = gradients[1] | {
        "grad_norm": jnp.sqrt(sum(squares)),
        "learning_rate": jnp.asarray(learning_rate(settings.optimizer)(step), jnp.float32),
        "tokens": totals.tokens,
    }
    core = (step + 1, optax.apply_updates(trained, updates), optimizer_state)
    leaves, structure = jax.tree.flatten(core)
    placed = [
        jax.lax.with_sharding_constraint(leaf, where) if where else leaf
        for leaf, where in zip(leaves, placement, strict=True)
    ]
    return structure.unflatten(placed), metrics


def _placement(core: Core) -> Placement:
    """How the state lies on its mesh (None: on one device).

    What a step returns must lie like what it was given: left to itself the compiler may shard it otherwise, and then
    the next step compiles again.
    """
    shardings = (leaf.sharding for leaf in jax.tree.leaves(core))
    return tuple(sharding if isinstance(sharding, NamedSharding) else None for sharding in shardings)
