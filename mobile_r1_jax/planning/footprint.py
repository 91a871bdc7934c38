"""The footprint of a program on one chip: bytes of memory, operations, and bytes moved."""

from dataclasses import dataclass, field

from mobile_r1_jax.planning.chips import Chip


@dataclass(frozen=True)
class Work:
    """The work of one chip in one call or a part of it: operations, bytes of memory traffic, bytes from other chips."""

    flops: float
    memory: float
    links: float | None  # None: unknown

    def walls(self, chip: Chip) -> dict[str, float]:
        """Return the minimum seconds by each limit of the chip."""
        walls = {"compute": self.flops / chip.flops, "memory": self.memory / chip.bandwidth}
        return walls if self.links is None else walls | {"links": self.links / chip.links}

    def wall(self, chip: Chip) -> tuple[str, float]:
        """Return the limit that dominates and its seconds: the minimum time if everything overlaps."""
        return max(self.walls(chip).items(), key=lambda wall: wall[1])


@dataclass(frozen=True)
class Footprint:
    """The bytes that a chip needs for a program, and its work. Sampling has two named parts.

    beside: bytes held meanwhile in addition to the arguments. compiled: arguments, temporaries and peak come
    from the compiler, otherwise they are estimated. refused: the compiler found that the program alone does not fit;
    `peak` is the need that it states.
    """

    arguments: float
    temporaries: float
    beside: float
    peak: float  # all bytes on the chip while the program runs
    parts: dict[str, Work] = field(default_factory=dict)
    compiled: bool = True
    refused: bool = False

    def fits(self, chip: Chip) -> bool:
        return not self.refused and self.peak <= chip.memory

    def seconds(self, chip: Chip) -> float:
        return sum(work.wall(chip)[1] for work in self.parts.values())
