"""python -m mobile_r1_jax.plan --config=configs/… --topology=v5e:2x4: does the run fit, and how long is an update?

Compiles every program of the run for the TPU slice, with the TPU's own compiler and without a TPU (pip install
'mobile-r1-jax[tpu]'), and prints what each takes; for GPUs (--topology=h200:8) it estimates from shapes. Every field of
the run is a flag, as for launch; of the policy its config.json is enough (--policy=DIRECTORY or FILE). Further flags:

    --topology CHIP:SHAPE  what to plan for (required)      --stages A,B  only these stages
    --turns N    turns of an episode (phones.most_turns)    --largest     only the largest bucket of prompts
    --tokens N   tokens of a response (shapes.response_tokens)

Results of compiled programs are stored in the user's cache directory, or in --compiled=DIRECTORY: a second plan
compiles only the programs that changed.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # nothing is run: whatever accelerator is here is left alone
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # it says that it finds no torch, which is not needed

from jax.sharding import AbstractMesh, AxisType, Mesh
from rich.console import Console

from mobile_r1_jax.config import ConfigError, Run, parse_run
from mobile_r1_jax.model.checkpoints.json_section import read_json
from mobile_r1_jax.model.checkpoints.model_directory import find_model
from mobile_r1_jax.model.config import PolicyConfig, config_from_json
from mobile_r1_jax.model.sharding import AXES, make_mesh, mesh_shape
from mobile_r1_jax.planning.chips import PlanError, Topology, compiler_versions, parse_topology, tpu_devices
from mobile_r1_jax.planning.footprint import Taken
from mobile_r1_jax.planning.knobs import Freed, Knob, counterpart, knobs_of, turn
from mobile_r1_jax.planning.measure import Measure
from mobile_r1_jax.planning.programs import Amounts, Program, programs_of
from mobile_r1_jax.planning.report import (
    Row,
    knob_table,
    memory_table,
    roofline_table,
    row_line,
    update_table,
    verdict,
)
from mobile_r1_jax.planning.result_cache import ResultCache
from mobile_r1_jax.runtime.compilation_cache import user_cache
from mobile_r1_jax.stages.declaration import STAGES

WIDTH = 120  # characters of a table, wherever it goes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 when everything fits, 1 when something doesn't, 2 for a plan that can't be made.

    Ctrl-C ends the process with status 130.
    """
    console, progress = Console(width=WIDTH), Console(stderr=True)
    before = signal.signal(signal.SIGINT, end_process)
    try:
        asked, rest = flags().parse_known_args(arguments)
        return show_plan(asked, parse_run("plan", rest), console, progress)
    except (ConfigError, PlanError) as error:
        console.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        return 2
    finally:
        signal.signal(signal.SIGINT, before)


def end_process(signum: int, frame: object) -> None:
    """End the process at once. JAX's garbage collection callbacks can swallow a KeyboardInterrupt, and nothing is lost:
    results are stored one by one."""
    os.write(2, b"interrupted; compiled programs are stored: the same command continues from there\n")
    os._exit(130)


def show_plan(asked: argparse.Namespace, run: Run, console: Console, progress: Console) -> int:
    """Measure the run's programs and print the tables; return 0 when everything fits, else 1.

    Raises ConfigError and PlanError in one line for a plan that cannot be made.
    """
    topology, config = parse_topology(asked.topology), read_config(run)
    amounts = Amounts(asked.turns or run.phones.most_turns, asked.tokens or run.shapes.response_tokens)
    stages = chosen_stages(asked.stages)
    if asked.largest:
        run = replace(run, shapes=replace(run.shapes, prompt_tokens=(max(run.shapes.prompt_tokens),)))
    measure = Measure(topology, ResultCache((run.compiled or user_cache()) / "plans"))
    rows = measured(plan_programs(run, config, topology, amounts, stages), measure, progress)
    console.print(memory_table(rows, topology.chip), roofline_table(rows, topology.chip))
    title = f"Updates with {amounts.turns} turns an episode and {amounts.tokens} tokens a response; phones not counted"
    console.print(update_table(rows, topology.chip, title))
    if topology.chip.compiler:
        console.print(f"Compiled with {compiler_versions()}.", highlight=False)
    console.print(verdict(rows, topology.chip), soft_wrap=True)
    over = [row for row in rows if not row.taken.fits(topology.chip)]
    if over:
        worst = max(over, key=lambda row: row.taken.peak)
        freed = freed_by_knobs(run, config, topology, amounts, worst, measure, progress)
        console.print(knob_table(worst.program, freed))
    return 1 if over else 0


def flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mobile_r1_jax.plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--topology", required=True)
    parser.add_argument("--turns", type=int)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--largest", action="store_true")
    return parser


def chosen_stages(names: str) -> list[str]:
    """The stages of "A,B"; PlanError in one line for one that there isn't."""
    if unknown := set(names.split(",")) - set(STAGES):
        raise PlanError(f"--stages: there is no {min(unknown)!r}; choose from {', '.join(STAGES)}")
    return names.split(",")


def read_config(run: Run) -> PolicyConfig:
    """The policy's shape: of its directory the config.json alone, or such a file itself. PlanError in one line."""
    try:
        if run.policy.suffix == ".json":
            return config_from_json(read_json(run.policy))
        return find_model(run.policy, run.policy_base).config()
    except (ValueError, FileNotFoundError) as error:
        raise PlanError(f"policy {run.policy}: {error}") from error


def mesh_of(run: Run, topology: Topology) -> Mesh | AbstractMesh:
    """The run's mesh over the topology's chips. PlanError in one line when their number is another."""
    try:
        if topology.chip.compiler:
            return make_mesh(run.mesh, tpu_devices(topology))
        return AbstractMesh(mesh_shape(run.mesh, topology.count), AXES, axis_types=(AxisType.Auto,) * len(AXES))
    except ValueError as error:
        raise PlanError(f"{error} ({topology.name})") from error


def plan_programs(
    run: Run, config: PolicyConfig, topology: Topology, amounts: Amounts, stages: Sequence[str]
) -> list[Program]:
    """The run's programs on the topology; PlanError in one line where the mesh does not divide something."""
    try:
        return programs_of(run, config, mesh_of(run, topology), amounts, stages)
    except ValueError as error:
        raise PlanError(str(error)) from error


def measured(programs: Sequence[Program], measure: Measure, progress: Console) -> list[Row]:
    """Return every program with what it takes, in the given order.

    Measures the largest bucket first, and prints each program on `progress` as soon as it is measured.
    """
    rows: dict[int, Row] = {}
    largest_first = sorted(range(len(programs)), key=lambda index: -(programs[index].bucket or 0))
    for number, index in enumerate(largest_first, start=1):
        rows[index] = measured_row(programs[index], measure, progress, f"{number}/{len(programs)}")
    return [rows[index] for index in range(len(programs))]


def measured_row(program: Program, measure: Measure, progress: Console, label: str) -> Row:
    """Measure one program and print its line after the label."""
    began = time.perf_counter()
    row = Row(program, measure(program))
    line = row_line(row, measure.topology.chip, time.perf_counter() - began)
    progress.print(f"{label} {line}", highlight=False, markup=False, soft_wrap=True)
    return row


def freed_by_knobs(
    run: Run,
    config: PolicyConfig,
    topology: Topology,
    amounts: Amounts,
    row: Row,
    measure: Measure,
    progress: Console,
) -> list[Freed]:
    """What every setting frees, most first, of a program that does not fit."""

    def with_knob(knob: Knob) -> tuple[Taken, bool] | None:
        try:
            programs = plan_programs(knob.run, config, topology, amounts, [row.program.stage])
        except PlanError:  # a mesh that does not divide something is no way out
            return None
        program = counterpart(row.program, programs)
        if program is None:
            return None
        taken = measured_row(program, measure, progress, knob.flag).taken
        return taken, taken.fits(topology.chip)

    knobs = knobs_of(run, row.program.stage, *mesh_shape(run.mesh, topology.count))
    return turn(knobs, row.taken, with_knob)


if __name__ == "__main__":
    sys.exit(main())
