"""The tables of a plan: memory and roofline of every program, seconds of every stage's update."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.markup import escape
from rich.table import Table

from mobile_r1_jax.planning.chips import GIB, Chip
from mobile_r1_jax.planning.footprint import Footprint
from mobile_r1_jax.planning.knobs import Saving
from mobile_r1_jax.planning.programs import Program

# Share of each peak that good programs reach. 45 % MFU: MaxText, Llama-3.1-8B on v6e-8. Bandwidths: a guess [ours].
REACHED = {"compute": 0.45, "memory": 0.7, "links": 0.7}


@dataclass(frozen=True)
class Row:
    """A program and its footprint."""

    program: Program
    footprint: Footprint


def memory_table(rows: Sequence[Row], chip: Chip) -> Table:
    """Return the table of memory in GiB of one chip while each program runs."""
    kind = (
        "as the compiler says" if all(row.footprint.compiled for row in rows) else "ESTIMATED from shapes, not compiled"
    )
    table = _table(f"Memory of one {chip.name}, GiB of {chip.memory / GIB:.2f}, {kind}", "stage", "program")
    for column in ("arguments", "temporaries", "beside", "peak"):
        table.add_column(column, justify="right")
    table.add_column("fits")
    for row in rows:
        footprint = row.footprint
        parts = [
            f"{part / GIB:.2f}"
            for part in (footprint.arguments, footprint.temporaries, footprint.beside, footprint.peak)
        ]
        table.add_row(row.program.stage, row.program.title, *parts, _fits(footprint, chip))
    return table


def row_line(row: Row, chip: Chip, seconds: float) -> str:
    """Return the line of a measured program; `seconds`: the time of the measurement."""
    footprint = row.footprint
    peak = f"{footprint.peak / GIB:.2f} of {chip.memory / GIB:.2f} GiB, fits: {_fits(footprint, chip)}"
    return f"{row.program.stage}: {row.program.title}: {peak} ({seconds:.0f} s)"


def _fits(footprint: Footprint, chip: Chip) -> str:
    return "yes" if footprint.fits(chip) else f"no, {(footprint.peak - chip.memory) / GIB:.2f} over"


def roofline_table(rows: Sequence[Row], chip: Chip) -> Table:
    """Return the table of one chip's work in one call of each program, and the limit that dominates."""
    title = f"One call on one {chip.name}, everything overlapped and every peak reached"
    table = _table(title, "stage", "program")
    for column in ("TFLOP", "memory GB", "links GB", "ms at least"):
        table.add_column(column, justify="right")
    table.add_column("wall")
    for row in rows:
        for name, work in row.footprint.parts.items():
            wall, seconds = work.wall(chip)
            links = "unknown" if work.links is None else f"{work.links / 1e9:.2f}"
            figures = (f"{work.flops / 1e12:.2f}", f"{work.memory / 1e9:.2f}", links, f"{1e3 * seconds:.1f}")
            title = f"{row.program.title}: {name}" if name else row.program.title
            table.add_row(row.program.stage, title, *figures, wall)
    return table


def update_table(rows: Sequence[Row], chip: Chip, title: str) -> Table:
    """Return the table of seconds of one update of each stage: the minimum, and the expectation for good programs."""
    table = _table(title, "stage", "what")
    for column in ("calls", "s at least", "s expected"):
        table.add_column(column, justify="right")
    for stage in dict.fromkeys(row.program.stage for row in rows):
        own = [row for row in rows if row.program.stage == stage]
        unknown = sorted({row.program.title for row in own if not row.footprint.parts and row.program.calls})
        totals = [0.0, 0.0]
        for what, calls, least, expected in _times(own, chip):
            table.add_row(stage, what, f"{calls:.1f}", f"{least:.2f}", f"{expected:.2f}")
            totals = [totals[0] + least, totals[1] + expected]
        note = f" without {', '.join(unknown)}" if unknown else ""
        table.add_row(stage, f"[bold]an update[/bold]{note}", "", *(f"[bold]{total:.1f}[/bold]" for total in totals))
    return table


def _times(rows: Sequence[Row], chip: Chip) -> Iterator[tuple[str, float, float, float]]:
    """Yield (name, calls, minimum seconds, expected seconds) of each kind of program, over all buckets."""
    sums: dict[str, list[float]] = {}
    for row in rows:
        for name, work in row.footprint.parts.items():
            what = name or row.program.name
            wall, seconds = work.wall(chip)
            calls = row.program.calls
            added = (calls, calls * seconds, calls * seconds / REACHED[wall])
            sums[what] = [a + b for a, b in zip(sums.get(what, [0.0] * 3), added, strict=True)]
    yield from ((what, *figures) for what, figures in sums.items())


def knob_table(program: Program, savings: Sequence[Saving]) -> Table:
    """Return the table of settings that free memory for a program that does not fit."""
    table = _table(f"{program.stage}, {program.title} does not fit; what would free how much", "setting")
    table.add_column("frees GiB", justify="right")
    table.add_column("fits then")
    for each in savings:
        table.add_row(escape(each.flag), f"{each.freed / GIB:.2f}", "yes" if each.fits else "no")
    return table


def _table(title: str, *names: str) -> Table:
    """Return a table whose first columns are `names`, which are never truncated."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=True)
    return table


def verdict(rows: Sequence[Row], chip: Chip) -> str:
    """Return one line: whether the run fits, and the margin."""
    tightest = max(rows, key=lambda row: row.footprint.peak)
    room = (chip.memory - tightest.footprint.peak) / GIB
    name = f"{tightest.program.stage}: {tightest.program.title}"
    estimated = "" if all(row.footprint.compiled for row in rows) else " (an estimate)"
    if all(row.footprint.fits(chip) for row in rows):
        return f"It fits{estimated}: {name} is tightest and leaves {room:.2f} GiB of a chip."
    return f"It does not fit{estimated}: {name} is {-room:.2f} GiB of a chip over."
