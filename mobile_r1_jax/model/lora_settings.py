"""The settings of LoRA. This module imports no JAX, so that --help is fast."""

from dataclasses import dataclass
from math import inf
from typing import Annotated, Literal

# Name of a projection -> path in the policy of its linear maps, those of all layers.
PROJECTIONS = {
    "q": "text.layers.q",
    "k": "text.layers.k",
    "v": "text.layers.v",
    "out": "text.layers.out",
    "gate": "text.layers.feed_forward.gate",
    "up": "text.layers.feed_forward.up",
    "down": "text.layers.feed_forward.down",
}


@dataclass(frozen=True)
class LoRA:
    """The projections of the language model that have adapters, and the size of the adapters."""

    rank: Annotated[int, "[1, inf)"] = 16  # rank of an adapter (r)
    alpha: Annotated[float, "(0, inf)"] = 32.0  # the output of an adapter is scaled by alpha / rank
    projections: tuple[Literal["q", "k", "v", "out", "gate", "up", "down"], ...] = tuple(PROJECTIONS)  # with adapters

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 < self.alpha < inf:
            raise ValueError(f"LoRA: rank {self.rank} must be at least 1, and alpha {self.alpha} above 0")
        if not self.projections or (unknown := set(self.projections) - set(PROJECTIONS)):
            named = f"there is no projection {min(unknown)!r}" if self.projections else "no projection is named"
            raise ValueError(f"LoRA: {named}; choose from {', '.join(PROJECTIONS)}")

    @property
    def scale(self) -> float:
        return self.alpha / self.rank
