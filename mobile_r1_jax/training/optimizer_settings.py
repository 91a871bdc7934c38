"""What the optimizer of a stage is made of; this module imports no JAX, so that a command's --help is quick."""

from dataclasses import dataclass, replace
from math import inf
from typing import Annotated, Literal


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW by optax, after clipping the gradient by its global norm."""

    learning_rate: Annotated[float, "(0, 1]"] = 1e-6  # full learning rate [kin]
    warmup_steps: Annotated[int, "[0, inf)"] = 0  # updates of linear warm-up; the first one is already above zero
    schedule: Literal["constant", "cosine"] = "constant"  # learning rate after the warm-up
    # updates after which the cosine reaches zero; null: those of the stage
    total_steps: Annotated[int | None, "[1, inf)"] = None
    b1: Annotated[float, "[0, 1)"] = 0.9  # decay of the first moment [kin]
    b2: Annotated[float, "[0, 1)"] = 0.999  # decay of the second moment [kin]
    eps: Annotated[float, "(0, 1]"] = 1e-8  # added to the root of the second moment [kin]
    clip_norm: Annotated[float, "(0, inf)"] = 1.0  # largest global norm of the gradient [kin]
    weight_decay: Annotated[float, "[0, inf)"] = 0.0  # of all parameters but biases and scales [kin]
    first_moment: Literal["float32", "bfloat16"] = "float32"  # dtype of the first moment

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


def with_total_steps(settings: OptimizerSettings, updates: int) -> OptimizerSettings:
    """Return the settings of a stage of so many updates: the cosine ends with the stage, unless total_steps says
    otherwise. A stage that is shorter than the warm-up is all warm-up."""
    return replace(settings, total_steps=settings.total_steps or max(updates, settings.warmup_steps + 1))
