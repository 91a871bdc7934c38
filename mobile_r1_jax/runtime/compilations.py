"""What is compiled while a run is under way: every program should be compiled once a shape, in the first update."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

JAX_LOG = logging.getLogger("jax._src.interpreters.pxla")  # where JAX tells shapes; its monitoring events have none
COMPILING = "Compiling %s with global shapes"


@dataclass(frozen=True)
class Compilation:
    """program: as JAX names it, such as jit(sample). shapes: of its arguments, such as float32[8,4]."""

    program: str
    shapes: tuple[str, ...]


_open: list[list[Compilation]] = []  # those that `record_compilations` has given out


@contextmanager
def record_compilations() -> Iterator[list[Compilation]]:
    """A list that grows by everything that JAX compiles, in any thread, until the context is left.

    What a compilation cache on disk then has counts as well: it was traced and lowered anew."""
    compiled: list[Compilation] = []
    JAX_LOG.addFilter(_note)
    JAX_LOG.setLevel(logging.DEBUG)
    _open.append(compiled)
    try:
        yield compiled
    finally:
        _open[:] = [other for other in _open if other is not compiled]
        if not _open:
            JAX_LOG.setLevel(logging.NOTSET)
            JAX_LOG.removeFilter(_note)


def _note(record: logging.LogRecord) -> bool:
    """Sees every record of JAX's log, and lets through what would have come through without us."""
    if str(record.msg).startswith(COMPILING):
        program, shapes, *_ = record.args
        for compiled in _open:
            compiled.append(Compilation(str(program), tuple(shape.str_short() for shape in shapes)))
    return record.levelno >= JAX_LOG.parent.getEffectiveLevel()


def recompilations(compiled: Sequence[Compilation], start: int) -> Iterator[tuple[int, str]]:
    """Every one from the `start`-th on whose program had been compiled before: how bad that is, as a logging level, and
    the cause in words. A bucket that had not come before is news; compiling for shapes that had is a fault."""
    for number, one in enumerate(compiled[start:], start):
        before = [earlier.shapes for earlier in compiled[:number] if earlier.program == one.program]
        if one.shapes in before:
            yield (
                logging.WARNING,
                f"{one.program} was compiled again, for shapes it knows, placed or set in another way",
            )
        elif before:
            new = ", ".join(sorted(set(one.shapes).difference(*before))) or "a new mix of shapes"
            yield logging.INFO, f"{one.program} was compiled for {new} too"
