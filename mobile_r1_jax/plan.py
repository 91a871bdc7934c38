"""python -m mobile_r1_jax.plan --config=configs/… --topology=v5e:2x4: does the run fit, and how long is an update?

Compiles every program of the run for the TPU slice, with the TPU compiler and without a TPU (pip install
'mobile-r1-jax[tpu]'), and prints the footprint of each. For GPUs (--topology=h200:8) it estimates from shapes. Every
field of the run is a flag, as for launch. The policy may be its config.json alone (--policy=DIRECTORY or FILE). Flags:

    --topology CHIP:SHAPE  what to plan for (required)      --largest   only the largest bucket of prompts
    --turns N    turns of an episode (phones.most_turns)    --tokens N  tokens of a response (shapes.response_tokens)

Results of compiled programs are stored in the user's cache directory, or in --compiled=DIRECTORY: a second plan
compiles only the programs that changed.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # nothing runs: leave any accelerator alone
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # no warning about missing torch, which is not needed

from rich.console import Console

from mobile_r1_jax.config import ConfigError, Run, parse_run
from mobile_r1_jax.planning import command, report
from mobile_r1_jax.planning.chips import PlanError, compiler_versions, parse_topology
from mobile_r1_jax.planning.measure import Measure
from mobile_r1_jax.planning.programs import Workload
from mobile_r1_jax.planning.result_cache import ResultCache
from mobile_r1_jax.runtime.compilation_cache import user_cache

WIDTH = 120  # characters of a table, on a terminal or in a file


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 when everything fits, 1 when something doesn't, 2 for a plan that can't be made.

    Ctrl-C ends the process with status 130.
    """
    console, progress = Console(width=WIDTH), Console(stderr=True)
    with command.exit_on_interrupt():
        try:
            asked, rest = flags().parse_known_args(arguments)
            return show_plan(asked, parse_run("plan", rest), console, progress)
        except (ConfigError, PlanError) as error:
            console.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
            return 2


def show_plan(asked: argparse.Namespace, run: Run, console: Console, progress: Console) -> int:
    """Measure the run's programs and print the tables; return 0 when everything fits, else 1.

    Raise ConfigError or PlanError in one line for a plan that cannot be made.
    """
    topology, config = parse_topology(asked.topology), command.read_config(run)
    chip = topology.chip
    workload = Workload(asked.turns or run.phones.most_turns, asked.tokens or run.shapes.response_tokens)
    if asked.largest:
        run = replace(run, shapes=replace(run.shapes, prompt_tokens=(max(run.shapes.prompt_tokens),)))
    measure = Measure(topology, ResultCache((run.compiled or user_cache()) / "plans"))
    programs = command.plan_programs(run, config, topology, workload)
    rows = command.measure_programs(programs, measure, progress)
    console.print(report.memory_table(rows, chip), report.roofline_table(rows, chip))
    title = (
        f"Updates with {workload.turns} turns an episode and {workload.tokens} tokens a response; phones not counted"
    )
    console.print(report.update_table(rows, chip, title))
    if chip.compiler:
        console.print(f"Compiled with {compiler_versions()}.", highlight=False)
    console.print(report.verdict(rows, chip), soft_wrap=True)
    over = [row for row in rows if not row.footprint.fits(chip)]
    if over:
        worst = max(over, key=lambda row: row.footprint.peak)
        savings = command.measure_savings(run, config, workload, worst, measure, progress)
        console.print(report.knob_table(worst.program, savings))
    return 1 if over else 0


def flags() -> argparse.ArgumentParser:
    """Return the parser of the command's own flags."""
    parser = argparse.ArgumentParser(
        prog="python -m mobile_r1_jax.plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--topology", required=True)
    parser.add_argument("--turns", type=int)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--largest", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
