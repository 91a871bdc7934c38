"""The footprint of one program: from the TPU compiler, or estimated from shapes for GPUs."""

import logging
import re
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from math import prod
from threading import Thread
from typing import Any

import jax
from jax.sharding import Mesh

from mobile_r1_jax.model.sharding import computing_on, row_shards
from mobile_r1_jax.planning.abstract import bytes_of, bytes_per_chip
from mobile_r1_jax.planning.chips import Topology
from mobile_r1_jax.planning.flops import Loops, count_flops, count_product_bytes, live_bytes
from mobile_r1_jax.planning.footprint import Footprint, Work
from mobile_r1_jax.planning.hlo import Traffic, count_traffic
from mobile_r1_jax.planning.programs import Program
from mobile_r1_jax.planning.result_cache import ResultCache, program_key

logger = logging.getLogger(__name__)

SUFFIXES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass
class Measure:
    """A function from programs to footprints. It measures equal programs of several stages or runs once.

    cache: results of compiled programs on disk; estimates are quick and are not stored.
    """

    topology: Topology
    cache: ResultCache | None = None
    _found: dict[Any, Footprint] = field(default_factory=dict)

    def __call__(self, program: Program) -> Footprint:
        key = self._key(program)
        if key not in self._found:
            self._found[key] = self._compiled(program) if self.topology.chip.compiler else estimate(program)
        footprint = self._found[key]
        return replace(footprint, beside=program.beside, peak=footprint.peak + program.beside)

    def _compiled(self, program: Program) -> Footprint:
        """Return the result from the cache, or compile the program and store its result."""
        with computing_on(program.mesh):
            traced = program.function.trace(*program.arguments, **program.keywords)
            lowered = traced.lower()
        if self.cache is None:
            return compile_program(program, traced, lowered)
        key = program_key(lowered.as_text(), program, self.topology.name)
        if (footprint := self.cache.read(key)) is None:
            footprint = compile_program(program, traced, lowered)
            try:
                self.cache.write(key, footprint)
            except OSError as error:
                logger.warning("results of this plan cannot be stored: %s", error)
                self.cache = None
        return footprint

    def _key(self, program: Program) -> Any:
        """Return what identifies a program: the function, its arguments' shapes and every static argument."""
        leaves, structure = jax.tree.flatten((program.arguments, program.keywords.get("sampling")))
        shapes = tuple(
            (leaf.shape, leaf.dtype, leaf.sharding) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf
            for leaf in leaves
        )
        static = frozenset(item for item in program.keywords.items() if item[0] != "sampling")
        return program.function, structure, shapes, static, program.loops, program.mesh


def compile_program(program: Program, traced: jax.stages.Traced, lowered: jax.stages.Lowered) -> Footprint:
    """Compile a program for its mesh's TPU and return its footprint, without `beside`."""
    try:
        compiled = _compile(lowered)
    except jax.errors.JaxRuntimeError as error:
        arguments = bytes_per_chip(program.arguments)
        needed = refused_bytes(str(error), arguments)
        if needed is None:
            raise
        return Footprint(arguments, max(0.0, needed - arguments), 0.0, needed, refused=True)
    memory = compiled.memory_analysis()
    arguments = memory.argument_size_in_bytes
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    temporaries = memory.temp_size_in_bytes + memory.generated_code_size_in_bytes
    text = compiled.as_text()
    parts = _parts(program, traced.jaxpr.jaxpr, lambda loops: count_traffic(text, loops))
    return Footprint(arguments, temporaries, 0.0, arguments + results + temporaries, parts)


def _compile(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """Compile in a thread: a signal is then handled at once, not minutes later when the compiler returns."""
    future: Future[jax.stages.Compiled] = Future()

    def work() -> None:
        try:
            future.set_result(lowered.compile())
        except Exception as error:
            future.set_exception(error)

    Thread(target=work, daemon=True).start()
    return future.result()


def estimate(program: Program) -> Footprint:
    """Estimate a program's footprint from shapes, without `beside`.

    Arguments are exact. Temporaries are the jaxpr's live bytes, divided evenly over the chips, and the gathered weights
    of two layers. Memory traffic is that of matrix products with everything else fused into them, but at least the
    arguments. Traffic between chips is unknown.
    """
    mesh = program.mesh
    with jax.sharding.use_abstract_mesh(mesh):
        jaxpr = program.function.trace(*program.arguments, **program.keywords).jaxpr.jaxpr

    def spread(aval: Any) -> float:
        return bytes_of(aval) / mesh.size

    def multiplied(aval: Any) -> float:  # a matrix is a weight: every chip gathers it along fsdp
        return spread(aval) * (row_shards(mesh) if aval.ndim <= 2 else 1)

    arguments = bytes_per_chip(program.arguments)
    temporaries = live_bytes(jaxpr, program.loops, spread) + _gathered_bytes(program)
    parts = _parts(
        program, jaxpr, lambda loops: Traffic(max(arguments, count_product_bytes(jaxpr, loops, multiplied)), 0.0)
    )
    return Footprint(arguments, temporaries, 0.0, arguments + temporaries, parts, compiled=False)


def _parts(program: Program, jaxpr: Any, traffic: Callable[[Loops], Traffic]) -> dict[str, Work]:
    """Return the work of the call; for sampling, split into prefill and the loop over tokens."""

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
    """Return the bytes that a refused program needs, from the TPU compiler's message; None for any other message.

    The compiler states all bytes, or only the temporaries if these alone do not fit.
    """
    everything = re.search(r"Used ([\d.]+)([KMGT]?) of [\d.]+[KMGT]? hbm", message)
    temporaries = re.search(r"HLO temporaries \(([\d.]+)([KMGT]?)\) exceeds", message)
    found = everything or temporaries
    if found is None:
        return None
    return float(found.group(1)) * SUFFIXES[found.group(2)] + (0.0 if everything else arguments)


def _gathered_bytes(program: Program) -> float:
    """Return the bytes of two layers' weights, gathered along fsdp, at two bytes a number; 0 on a single chip."""
    mesh = program.mesh
    if mesh.size == 1:
        return 0.0
    stacked = [
        leaf for leaf in jax.tree.leaves(program.arguments) if getattr(leaf, "ndim", 0) == 3 and leaf.shape[0] < 128
    ]
    weights = [leaf for leaf in stacked if leaf.sharding is not None and any(leaf.sharding.spec)]
    return 2 * sum(2 * prod(leaf.shape[1:]) for leaf in weights) / mesh.shape["tensor"]
