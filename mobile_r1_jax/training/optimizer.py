"""AdamW with a learning rate that warms up, as a frozen description that compiled programs can be keyed by."""

from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

NOT_DECAYED = ("bias", "scale")  # last part of the names of parameters that weight decay leaves alone


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW by optax, after clipping the gradient by its global norm."""

    learning_rate: float = 1e-6  # [kin]
    warmup_steps: int = 0  # updates; the first is already above zero
    schedule: Literal["constant", "cosine"] = "constant"  # after the warm-up
    total_steps: int | None = None  # updates in all; the cosine reaches zero there. None: the stage's updates
    b1: float = 0.9  # this and the three below: defaults of the trainer that the kin code was forked from
    b2: float = 0.999
    eps: float = 1e-8
    clip_norm: float = 1.0
    weight_decay: float = 0.0
    first_moment: Literal["float32", "bfloat16"] = (
        "float32"  # its dtype; the second needs more digits than bfloat16 has
    )

    def __post_init__(self) -> None:
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"OptimizerSettings.schedule is {self.schedule!r}; choose constant or cosine")
        if not all(0 < value < inf for value in (self.learning_rate, self.eps, self.clip_norm)):
            raise ValueError("OptimizerSettings: learning_rate, eps and clip_norm must be finite and above 0")
        if not (0 <= self.b1 < 1 and 0 <= self.b2 < 1 and 0 <= self.weight_decay < inf and self.warmup_steps >= 0):
            raise ValueError("OptimizerSettings needs 0 <= b1, b2 < 1, weight_decay >= 0 and warmup_steps >= 0")
        if self.schedule == "cosine" and self.total_steps is not None and self.total_steps <= self.warmup_steps:
            raise ValueError(
                f"OptimizerSettings: a cosine needs total_steps above warmup_steps, "
                f"not {self.total_steps} and {self.warmup_steps}"
            )


def over(settings: OptimizerSettings, updates: int) -> OptimizerSettings:
    """The settings of a stage of so many updates: its cosine ends with it, unless it says itself where it ends. A trial
    that is shorter than the warm-up is all warm-up."""
    return replace(settings, total_steps=settings.total_steps or max(updates, settings.warmup_steps + 1))


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
