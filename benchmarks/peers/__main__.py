"""python -m benchmarks.peers (make bench): ours against tunix, TRL, transformers and torch, in one table.

All sides run in one process, in turns, on the same random weights and tokens. Compilation and two warm-ups are not
timed. On a CPU: text models (and vision towers) of 5 and 75 million parameters in float32, the same on every side:
tunix's own Qwen2, transformers' Qwen2 and Qwen2.5-VL tower. Before the measurement, greedy tokens, losses, gradient
norms and encoded screens are checked to be equal. On a GPU or a TPU: ours alone, in bfloat16 at the shapes of
Qwen2.5-VL-3B, with fractions of the manufacturer's peaks (MFU). Other work on the machine changes the seconds: compare
the ratios and their spread.
"""

import argparse
import os
import sys
import time
import warnings

import jax
import jax.numpy as jnp
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks.peers.compare import Plan, Row, measure
from benchmarks.peers.limits import Limits, count_cost, measure_limits, stated_limits
from benchmarks.peers.work import MODELS, Encoding, Sampling, Update
from mobile_r1_jax.model.sharding import make_mesh
from mobile_r1_jax.runtime.host_memory import keep_freed_memory

SCREEN = (336, 728)  # model pixels of a 1080 x 2400 screenshot
COLUMNS = (
    "model",
    "work",
    "unit",
    "peer",
    "ours",
    "theirs",
    "times faster (spread)",
    "of the matmul limit",
    "of the bandwidth",
)


def make_plans(quick: bool) -> list[Plan]:
    """Return the work to measure on this machine."""
    if quick:
        works = (
            Sampling(prompts=1, group=2, prompt=16, tokens=8),
            Update("GRPO", prompts=1, group=2, prompt=16, tokens=8),
            Update("SFT", prompts=2, group=1, prompt=16, tokens=8),
            Encoding(1, 112, 112),
        )
        return [Plan("tiny", works)]
    if jax.default_backend() != "cpu":
        rows = jax.device_count()  # divisible by the mesh
        works = (
            *(Sampling(max(rows, batch // 8), 8, 1300, 200) for batch in (8, 32)),
            *(Update("GRPO", rows, group, 1300, 200) for group in (4, 8)),
            Update("SFT", 4 * rows, 1, 1300, 200),
            Encoding(8 * rows, *SCREEN),
        )
        return [Plan("3B", works, jnp.bfloat16, against_peers=False)]
    small, large = (
        [Sampling(*rows, 128, tokens) for rows in ((8, 1), (1, 8), (32, 1), (4, 8))] for tokens in (128, 32)
    )
    small += [Update("GRPO", 1, group, 1300, 200) for group in (4, 8)]
    large += [Update("GRPO", 1, group, 192, 64) for group in (4, 8)]
    return [
        Plan("5 M", (*small, Update("SFT", 4, 1, 300, 200), Encoding(4, *SCREEN))),
        Plan("75 M", (*large, Update("SFT", 4, 1, 192, 64), Encoding(2, *SCREEN))),
    ]


def table_row(row: Row, limits: Limits) -> list[str]:
    """Return a row of the table."""

    def format_speed(seconds: float) -> str:
        if isinstance(row.work, Sampling):
            return f"{row.work.prompts * row.work.group * row.work.tokens / seconds:,.0f}"
        return f"{1000 * seconds:,.0f}"

    cost = count_cost(row.work, MODELS[row.plan.model], jnp.dtype(row.plan.dtype).itemsize)
    peer, theirs, ratio = row.peer or "–", "–", "–"
    if row.theirs is not None:
        theirs = format_speed(row.theirs.median)
        ratio = "{:.2f} ({:.2f} to {:.2f})".format(*row.ours.times_faster(row.theirs))
    elif row.peer:
        theirs = "not installed"
    return [
        row.plan.model,
        str(row.work),
        "tokens/s" if isinstance(row.work, Sampling) else "ms",
        peer,
        format_speed(row.ours.median),
        theirs,
        ratio,
        f"{cost.flops / row.ours.median / limits.flops:.0%}",
        f"{cost.bytes / row.ours.median / limits.bandwidth:.0%}" if cost.bytes else "–",
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to check that everything runs")
    parser.add_argument("--repetitions", type=int, default=5)
    asked = parser.parse_args(arguments)
    keep_freed_memory()  # as in a run; applies to every side
    # Peers would access the network and print warnings; they do not need either.
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    warnings.filterwarnings("ignore")

    began = time.perf_counter()
    mesh = make_mesh(f"{jax.device_count()}x1")
    table = Table(*COLUMNS, box=MARKDOWN)
    for plan in make_plans(asked.quick):
        measured = measure_limits(plan.dtype)
        limits = stated_limits() or measured
        print(
            f"{plan.model}: {jnp.dtype(plan.dtype).name} on {jax.device_count()} x {jax.devices()[0].device_kind}, "
            f"measured {measured}; fractions are of limits {limits.source}",
            flush=True,
        )
        for rows in measure(plan, mesh, asked.repetitions):
            for row in rows:
                table.add_row(*table_row(row, limits))
                cells = f"{time.perf_counter() - began:.0f} s", *table_row(row, limits)
                print(*cells, sep=" | ", file=sys.stderr, flush=True)
    print(f"medians of {asked.repetitions} repetitions; {time.perf_counter() - began:.0f} s in all")
    if stats := jax.devices()[0].memory_stats():  # a CPU has none
        print(f"peak memory of a device: {stats['peak_bytes_in_use'] / 2**30:.1f} GiB")
    Console(width=240).print(table)


if __name__ == "__main__":
    sys.exit(main())
