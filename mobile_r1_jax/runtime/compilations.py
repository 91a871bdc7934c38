"""A record of compilations during a run. Every program should compile once per shape, in the first update."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

JAX_LOG = logging.getLogger("jax._src.interpreters.pxla")  # this log has shapes; JAX's monitoring events have none
COMPILING = "Compiling %s with global shapes"


@dataclass(frozen=True)
class Compilation:
    """program: its name in JAX, such as jit(sample). shapes: those of its arguments, such as float32[8,4]."""

    program: str
    shapes: tuple[str, ...]


_open: list[list[Compilation]] = []  # the lists of all `record_compilations` contexts


@contextmanager
def record_compilations() -> Iterator[list[Compilation]]:
    """Yield a list that grows by each compilation, in any thread, until the context ends.

    Programs that the compilation cache holds count as well: they were traced and lowered again."""
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
    """Record a compilation from JAX's log. Return whether the log's own level lets the record through."""
    if str(record.msg).startswith(COMPILING):
        program, shapes, *_ = record.args
        for compiled in _open:
            compiled.append(Compilation(str(program), tuple(shape.str_short() for shape in shapes)))
    return record.levelno >= JAX_LOG.parent.getEffectiveLevel()


def recompilations(compiled: Sequence[Compilation], start: int) -> Iterator[tuple[int, str]]:
    """Yield (logging level, cause in words) for each compilation from `start` on whose program was compiled before.

    New shapes, such as those of a new bucket, have level INFO. The same shapes again are a fault, with level
    WARNING."""
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
