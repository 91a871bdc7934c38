"""AdamW with a learning rate that warms up, as a frozen description that compiled programs can be keyed by."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mobile_r1_jax.training.optimizer_settings import OptimizerSettings

NOT_DECAYED = ("bias", "scale")  # last part of the names of parameters that weight decay leaves alone


def learning_rate(settings: OptimizerSettings) -> optax.Schedule:
    """Learning rate of the n-th update, n from 0: linear to the full rate at n = warmup_steps, then as scheduled.

    Raises ValueError for a cosine without total_steps."""
    if settings.schedule == "cosine":
        if settings.total_steps is None:
            raise ValueError("OptimizerSettings: a cosine has to know its total_steps")
        after = optax.cosine_decay_schedule(settings.learning_rate, settings.total_steps - settings.warmup_steps)
    else:
        after = optax.constant_schedule(settings.learning_rate)
    first = settings.learning_rate / (settings.warmup_steps + 1)
    warmup = optax.linear_schedule(first, settings.learning_rate, settings.warmup_steps)
    return optax.join_schedules([warmup, after], [settings.warmup_steps])


def make_optimizer(settings: OptimizerSettings) -> optax.GradientTransformationExtraArgs:
    """The optimizer for the trained parameters alone: frozen ones never reach it, so they cost it no memory.

    Its update takes `grad_norm`, the global norm of the gradients, where the caller has it already."""
    return optax.chain(
        optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), partial(_clip, settings.clip_norm)),
        optax.adamw(
            learning_rate(settings),
            b1=settings.b1,
            b2=settings.b2,
            eps=settings.eps,
            weight_decay=settings.weight_decay,
            mu_dtype=settings.first_moment,
            mask=_decayed,
        ),
    )


def _clip(
    norm: float, gradients: Any, state: Any, params: Any = None, *, grad_norm: jax.Array | None = None
) -> tuple[Any, Any]:
    """As `optax.clip_by_global_norm`, with one factor instead of a division, which XLA on a CPU would not do twice: it
    would write all gradients anew."""
    grad_norm = optax.tree.norm(gradients) if grad_norm is None else grad_norm
    factor = norm / jnp.maximum(grad_norm, norm)
    return jax.tree.map(lambda gradient: gradient * factor.astype(gradient.dtype), gradients), state


def _decayed(params: Any) -> Any:
    """Same structure, True where weight decay applies: all but biases and norm scales."""

    def decays(path: tuple[Any, ...], _: jax.Array) -> bool:
        names = [str(part.key) for part in path if isinstance(part, jax.tree_util.DictKey)]
        return not names[-1].endswith(NOT_DECAYED)

    return jax.tree_util.tree_map_with_path(decays, params)
