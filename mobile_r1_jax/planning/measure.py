"""What one program takes: from the TPU compiler itself, or estimated from shapes where the compiler is not at hand."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import jax
from jax.sharding import Mesh

from mobile_r1_jax.model.sharding import computing_on, row_shards
from mobile_r1_jax.planning.abstract import bytes_of, bytes_per_chip
from mobile_r1_jax.planning.chips import Chip
from mobile_r1_jax.planning.flops import Loops, count_flops, count_product_bytes, live_bytes
from mobile_r1_jax.planning.hlo import Traffic, count_traffic
from mobile_r1_jax.planning.programs import Program

SUFFIXES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


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
class Taken:
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


@dataclass
class Measure:
    """Measures programs, each distinct one once: stages share some of theirs, and runs that differ in a setting."""

    chip: Chip
    _found: dict[Any, Taken] = field(default_factory=dict)

    def __call__(self, program: Program) -> Taken:
        key = self._key(program)
        if key not in self._found:
            self._found[key] = compile_program(program) if self.chip.compiler else estimate(program)
        taken = self._found[key]
        return replace(taken, beside=program.beside, peak=taken.peak + program.beside)

    def _key(self, program: Program) -> Any:
        leaves, structure = jax.tree.flatten((program.arguments, program.keywords.get("sampling")))
        shapes = tuple(
            (leaf.shape, str(leaf.dtype), str(leaf.sharding)) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf
            for leaf in leaves
        )
        static = {name: value for name, value in program.keywords.items() if name not in ("sampling", "graph")}
        return program.function, str(structure), shapes, str(static), program.loops, program.mesh


def compile_program(program: Program) -> Taken:
    """Compile it for its mesh's TPU; `beside` is left out."""
    mesh = program.mesh
    with computing_on(mesh):
        traced = program.function.trace(*program.arguments, **program.keywords)
        try:
            compiled = traced.lower().compile()
        except jax.errors.JaxRuntimeError as error:
            arguments = bytes_per_chip(program.arguments)
            needed = refused_bytes(str(error), arguments)
            if needed is None:
                raise
            return Taken(arguments, max(0.0, needed - arguments), 0.0, needed, refused=True)
    memory = compiled.memory_analysis()
    arguments = memory.argument_size_in_bytes
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    temporaries = memory.temp_size_in_bytes + memory.generated_code_size_in_bytes
    text = compiled.as_text()
    parts = _parts(program, traced.jaxpr.jaxpr, lambda loops: count_traffic(text, loops))
    return Taken(arguments, temporaries, 0.0, arguments + results + temporaries, parts)


def estimate(program: Program) -> Taken:
    """From shapes alone, `beside` left out: arguments are exact; temporaries are what the jaxpr keeps alive, spread
    evenly over the chips, and two layers' gathered weights; bytes moved are those of matrix products with everything
    else fused into them, but at least the arguments; what travels between several chips is not known."""
    mesh = program.mesh
    with jax.sharding.use_abstract_mesh(mesh):
        jaxpr = program.function.trace(*program.arguments, **program.keywords).jaxpr.jaxpr

    def spread(aval: Any) -> float:
        return bytes_of(aval) / mesh.size

    def multiplied(aval: Any) -> float:  # a matrix is a weight, which every chip gathers along fsdp
        return spread(aval) * (row_shards(mesh) if aval.ndim <= 2 else 1)

    arguments = bytes_per_chip(program.arguments)
    temporaries = live_bytes(jaxpr, program.loops, spread) + _gathered(program)
    parts = _parts(
        program, jaxpr, lambda loops: Traffic(max(arguments, count_product_bytes(jaxpr, loops, multiplied)), 0.0)
    )
    return Taken(arguments, temporaries, 0.0, arguments + temporaries, parts, compiled=False)


def _parts(program: Program, jaxpr: Any, traffic: Callable[[Loops], Traffic]) -> dict[str, Work]:
    """The whole call; of sampling, what precedes the loop over tokens and that loop."""

    mesh = program.mesh
    compiled = isinstance(mesh, Mesh)

    def work(trips: int) -> Work:
        loops = replace(program.loops, trips=trips)
        moved = traffic(loops)
        links = moved.links if compiled else None if mesh.size > 1 else 0.0
        return Work(count_flops(jaxpr, loops) / mesh.size, moved.memory, links)

    before = work(0)
    if not any(equation.primitive.name == "while" for equation in jaxpr.eqns):
        return {"": before}
    once = work(1)
    tokens = program.loops.trips
    decode = Work(
        tokens * (once.flops - before.flops),
        tokens * (once.memory - before.memory),
        None if once.links is None else tokens * (once.links - before.links),
    )
    return {"prefill": before, f"decode {tokens} tokens": decode}


def refused_bytes(message: str, arguments: float) -> float | None:
    """Bytes that the TPU compiler says a program with so many bytes of arguments would use, where it refused it for
    memory; None for any other message. It names all of them, or the temporaries where these alone are too many."""
    everything = re.search(r"Used ([\d.]+)([KMGT]?) of [\d.]+[KMGT]? hbm", message)
    temporaries = re.search(r"HLO temporaries \(([\d.]+)([KMGT]?)\) exceeds", message)
    found = everything or temporaries
    if found is None:
        return None
    return float(found.group(1)) * SUFFIXES[found.group(2)] + (0.0 if everything else arguments)


def _gathered(program: Program) -> float:
    """Bytes of two layers' weights, whole along fsdp, in two bytes a number; none on a single chip."""
    mesh = program.mesh
    if mesh.size == 1:
        return 0.0
    stacked = [
        leaf for leaf in jax.tree.leaves(program.arguments) if getattr(leaf, "ndim", 0) == 3 and leaf.shape[0] < 128
    ]
    weights = [leaf for leaf in stacked if leaf.sharding is not None and any(leaf.sharding.spec)]
    return 2 * sum(2 * prod(leaf.shape[1:]) for leaf in weights) / mesh.shape["tensor"]
