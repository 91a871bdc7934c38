"""The steps of `python -m mobile_r1_jax.plan`: read the policy's shape, list the programs, measure each one."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from jax.sharding import AbstractMesh, AxisType, Mesh
from rich.console import Console

from mobile_r1_jax.config import Run
from mobile_r1_jax.model.checkpoints.json_section import read_json
from mobile_r1_jax.model.checkpoints.model_directory import find_model
from mobile_r1_jax.model.config import PolicyConfig, config_from_json
from mobile_r1_jax.model.sharding import AXES, make_mesh, mesh_shape
from mobile_r1_jax.planning.chips import PlanError, Topology, tpu_devices
from mobile_r1_jax.planning.footprint import Footprint
from mobile_r1_jax.planning.knobs import Knob, Saving, find_counterpart, knobs_of, measure_knobs
from mobile_r1_jax.planning.measure import Measure
from mobile_r1_jax.planning.programs import Program, Workload, programs_of
from mobile_r1_jax.planning.report import Row, row_line
from mobile_r1_jax.saved_run import initial_policy


@contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """End the process with status 130 on Ctrl-C within the block."""
    before = signal.signal(signal.SIGINT, _end_process)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_process(signum: int, frame: object) -> None:
    """End the process at once. JAX's garbage collection callbacks can swallow a KeyboardInterrupt, and nothing is lost:
    results are stored one by one."""
    os.write(2, b"interrupted; compiled programs are stored: the same command continues from there\n")
    os._exit(130)


def read_config(run: Run) -> PolicyConfig:
    """Return the policy's config from its directory or from a config.json. Raise PlanError in one line."""
    try:
        if run.policy.suffix == ".json":
            return config_from_json(read_json(run.policy))
        directory, colon, _ = str(run.policy).rpartition(":")
        policy = initial_policy(Path(directory)) if colon and not run.policy.exists() else run.policy
        return find_model(policy, run.policy_base).config()
    except (ValueError, FileNotFoundError) as error:
        raise PlanError(f"policy {run.policy}: {error}") from error


def plan_mesh(run: Run, topology: Topology) -> Mesh | AbstractMesh:
    """Return the run's mesh over the topology's chips.

    Raise PlanError in one line if their number does not match, or if no host could hold the policy to sample."""
    try:
        if (tensor := mesh_shape(run.mesh, topology.count)[-1]) > topology.per_host:
            raise ValueError(
                f"mesh {run.mesh}: tensor = {tensor} crosses hosts of {topology.per_host} device(s), so none could "
                "hold the policy to sample; put fewer along tensor"
            )
        if topology.chip.compiler:
            return make_mesh(run.mesh, tpu_devices(topology))
        return AbstractMesh(mesh_shape(run.mesh, topology.count), AXES, axis_types=(AxisType.Auto,) * len(AXES))
    except ValueError as error:
        raise PlanError(f"{error} ({topology.name})") from error


def plan_programs(run: Run, config: PolicyConfig, topology: Topology, workload: Workload) -> list[Program]:
    """Return the run's programs on the topology. Raise PlanError in one line if the mesh does not divide an axis."""
    try:
        return programs_of(run, config, plan_mesh(run, topology), workload)
    except ValueError as error:
        raise PlanError(str(error)) from error


def measure_programs(programs: Sequence[Program], measure: Measure, progress: Console) -> list[Row]:
    """Return every program with its footprint, in the given order.

    Measure the largest bucket first, and print each program on `progress` as soon as it is measured.
    """
    rows: dict[int, Row] = {}
    largest_first = sorted(range(len(programs)), key=lambda index: -(programs[index].bucket or 0))
    for number, index in enumerate(largest_first, start=1):
        rows[index] = measure_row(programs[index], measure, progress, f"{number}/{len(programs)}")
    return [rows[index] for index in range(len(programs))]


def measure_row(program: Program, measure: Measure, progress: Console, label: str) -> Row:
    """Measure one program and print its line after the label."""
    began = time.perf_counter()
    row = Row(program, measure(program))
    line = row_line(row, measure.topology.chip, time.perf_counter() - began)
    progress.print(f"{label} {line}", highlight=False, markup=False, soft_wrap=True)
    return row


def measure_savings(
    run: Run, config: PolicyConfig, workload: Workload, row: Row, measure: Measure, progress: Console
) -> list[Saving]:
    """Return what every setting frees of a program that does not fit, most first."""
    topology = measure.topology

    def with_knob(knob: Knob) -> tuple[Footprint, bool] | None:
        try:
            programs = plan_programs(replace(knob.run, stages=(row.program.stage,)), config, topology, workload)
        except PlanError:  # a mesh that does not divide an axis is not a solution
            return None
        program = find_counterpart(row.program, programs)
        if program is None:
            return None
        footprint = measure_row(program, measure, progress, knob.flag).footprint
        return footprint, footprint.fits(topology.chip)

    knobs = knobs_of(run, row.program.stage, *mesh_shape(run.mesh, topology.count))
    return measure_knobs(knobs, row.footprint, with_knob)
