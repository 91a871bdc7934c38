"""What a program takes of a chip: bytes of its memory, operations, and bytes moved."""

from dataclasses import dataclass, field

from mobile_r1_jax.planning.chips import Chip


@dataclass(frozen=True)
class Work:
    """What one chip does in one call or a part of it: operations, bytes to and from its memory, bytes from others."""

    flops: float
    memory: float
    links: float | None  # None: not known

    def walls(self, chip: Chip) -> dict[str, float]:
        """Seconds that each limit of the chip alone asks for."""
        walls = {"compute": self.flops / chip.flops, "memory": self.memory / chip.bandwidth}
        return walls if self.links is None else walls | {"links": self.links / chip.links}

    def wall(self, chip: Chip) -> tuple[str, float]:
        """The wall that it hits and the seconds till there: with everything overlapped it cannot be faster."""
        return max(self.walls(chip).items(), key=lambda wall: wall[1])


@dataclass(frozen=True)
class Footprint:
    """Bytes a chip needs for a program, and what it does. Sampling has two parts: `parts` names them.

    compiled: arguments, temporaries and peak are the compiler's own; otherwise they are estimated. refused: the
    compiler found that the program alone does not fit, and `peak` is what it says the program would need.
    """

    arguments: float
    temporaries: float
    beside: float
    peak: float  # everything on the chip meanwhile
    parts: dict[str, Work] = field(default_factory=dict)
    compiled: bool = True
    refused: bool = False

    def fits(self, chip: Chip) -> bool:
        return not self.refused and self.peak <= chip.memory

    def seconds(self, chip: Chip) -> float:
        return sum(work.wall(chip)[1] for work in self.parts.values())
