"""AdamW with learning-rate warm-up, from frozen settings that are static arguments of compiled programs."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mobile_r1_jax.training.optimizer_settings import OptimizerSettings

NOT_DECAYED = ("bias", "scale")  # endings of the names of parameters without weight decay


def learning_rate(settings: OptimizerSettings) -> optax.Schedule:
    """Return the schedule, n -> learning rate of update n, from 0: linear up to n = warmup_steps, then as scheduled.

    Raises ValueError for a cosine without total_steps."""
    if settings.schedule == "cosine":
        if settings.total_steps is None:
            raise ValueError("OptimizerSettings: a cosine needs total_steps")
        after = optax.cosine_decay_schedule(settings.learning_rate, settings.total_steps - settings.warmup_steps)
    else:
        after = optax.constant_schedule(settings.learning_rate)
    first = settings.learning_rate / (settings.warmup_steps + 1)
    warmup = optax.linear_schedule(first, settings.learning_rate, settings.warmup_steps)
    return optax.join_schedules([warmup, after], [settings.warmup_steps])


def make_optimizer(settings: OptimizerSettings) -> optax.GradientTransformationExtraArgs:
    """Return the optimizer of the trained parameters. Frozen parameters have no optimizer state.

    Its update takes `grad_norm`, the global norm of the gradients, if the caller has it already."""
    return optax.chain(
        optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), partial(_clip, settings.clip_norm)),
        optax.adamw(
            learning_rate(settings),
            b1=settings.b1,
            b2=settings.b2,
            eps=settings.eps,
            weight_decay=settings.weight_decay,
            mu_dtype=settings.first_moment,
            mask=_decay_mask,
        ),
    )


def _clip(
    norm: float, gradients: Any, state: Any, params: Any = None, *, grad_norm: jax.Array | None = None
) -> tuple[Any, Any]:
    """Clip as `optax.clip_by_global_norm`, but multiply by one factor. With a division, XLA on a CPU would write all
    gradients again."""
    grad_norm = optax.tree.norm(gradients) if grad_norm is None else grad_norm
    factor = norm / jnp.maximum(grad_norm, norm)
    return jax.tree.map(lambda gradient: gradient * factor.astype(gradient.dtype), gradients), state


def _decay_mask(params: Any) -> Any:
    """Return a tree of bools, True for parameters with weight decay: all except biases and norm scales."""

    def decays(path: tuple[Any, ...], _: jax.Array) -> bool:
        names = [str(part.key) for part in path if isinstance(part, jax.tree_util.DictKey)]
        return not names[-1].endswith(NOT_DECAYED)

    return jax.tree_util.tree_map_with_path(decays, params)
