"""Several CPU devices of one process wait for each other, but not forever, however many programs are under way."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from host_runs import start_run

from mobile_r1_jax.runtime.cpu_devices import LIMIT, prepare_cpu_devices

DEVICES = "--xla_force_host_platform_device_count="
START = """
import threading, time
from mobile_r1_jax.runtime.cpu_devices import prepare_cpu_devices
{prepare}
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P
mesh = jax.make_mesh((jax.device_count(),), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
rows = jax.device_put(jnp.ones((4 * mesh.size, 1024)), NamedSharding(mesh, P("x")))
"""
# As in a run: one thread starts programs with a collective and waits for none; then another one starts some and waits.
MANY = """
step = jax.jit(lambda rows: rows - jnp.tanh(rows).mean())
def run(times):
    after = rows
    for _ in range(times):
        after = step(after)
    return after
for update in range(3):
    updated = run(300)
    engine = threading.Thread(target=lambda: run(20).block_until_ready())
    engine.start()
    engine.join()
updated.block_until_ready()
print(mesh.size, "devices are done")
"""
# The second device computes for about 100 seconds before it arrives.
LATE = """
def total(rows, times):
    steps = jax.lax.axis_index("x") * times
    rows = jax.lax.fori_loop(0, steps, lambda _, rows: jnp.sin(rows), rows)
    return jax.lax.psum(jnp.isfinite(rows).sum(), "x")
total = jax.jit(jax.shard_map(total, mesh=mesh, in_specs=(P("x"), P()), out_specs=P()))
total(rows, 1).block_until_ready()
began = time.perf_counter()
total(rows, 20_000).block_until_ready()
print(total(rows, int(20_000 * 100 / (time.perf_counter() - began))))
"""


def run_script(
    script: str, devices: int, flags: str = "", prepare: str = "prepare_cpu_devices()"
) -> subprocess.CompletedProcess[str]:
    """Run a script after START with several CPU devices."""
    inherited = {name: value for name, value in os.environ.items() if name != "PJRT_NPROC"}
    environment = inherited | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{DEVICES}{devices} {flags}"}
    command = [sys.executable, "-c", START.format(prepare=prepare) + script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize("devices", [2, 3, 8])
def test_devices_finish_hundreds_of_programs_in_flight(devices: int) -> None:
    done = run_script(MANY, devices, f"{LIMIT}=60")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == f"{devices} devices are done"


@pytest.mark.slow
def test_device_may_be_late_by_more_than_40_seconds() -> None:
    done = run_script(LATE, 2)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) == 8 * 1024
    minutes, seconds = re.search(r"unstuck .* after (?:(\d+)m)?([\d.]+)s", done.stderr).groups("0")
    assert 60 * int(minutes) + float(seconds) > 40


@pytest.mark.slow
def test_xla_alone_stops_the_process() -> None:
    """If this fails, XLA no longer needs more threads: remove them from runtime/cpu_devices.py."""
    stopped = run_script(MANY, max(2, os.cpu_count() or 2), prepare="")
    assert stopped.returncode < 0
    assert "to join the rendezvous, but only" in stopped.stderr


@pytest.mark.slow
def test_launch_learns_from_an_update_of_many_micro_batches_on_eight_devices(tmp_path: Path) -> None:
    """An update of 80 micro-batches starts 160 programs and waits for none."""
    flags = ("--annotations.count=60", "--format_finetuning.batch=640", "--format_finetuning.micro_batch=8")
    run = start_run(tmp_path, 1, 8, "--mesh=8x1", "--stages=[format_finetuning]", *flags)
    run.finish(seconds=500)
    assert [row["step"] for row in run.rows() if "loss" in row] == [1]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"XLA_FLAGS": "--xla_backend_optimization_level=0"},
        {"XLA_FLAGS": f"{DEVICES}1", "JAX_NUM_CPU_DEVICES": "1"},
        {"JAX_NUM_CPU_DEVICES": "no number"},
        {"XLA_FLAGS": f"{DEVICES}8 {LIMIT}=5", "PJRT_NPROC": "12"},
    ],
    ids=str,
)
def test_environment_is_unchanged_for_one_device_and_for_values_of_the_user(environment: dict[str, str]) -> None:
    before = dict(environment)
    prepare_cpu_devices(environment)
    assert environment == before


@pytest.mark.parametrize(
    ("environment", "threads", "flags"),
    [
        ({"XLA_FLAGS": f"{DEVICES}2"}, max(6, os.cpu_count() or 1), f"{DEVICES}2 {LIMIT}=600"),
        ({"XLA_FLAGS": f" {DEVICES}9 {DEVICES}1000"}, 3000, f"{DEVICES}9 {DEVICES}1000 {LIMIT}=600"),  # the last counts
        ({"JAX_NUM_CPU_DEVICES": "1000"}, 3000, f"{LIMIT}=600"),
        (
            {"JAX_NUM_CPU_DEVICES": "1000", "XLA_FLAGS": "flags.txt"},
            3000,
            "flags.txt",
        ),  # a file of flags
        ({"XLA_FLAGS": f"{DEVICES}1000 {LIMIT}=5"}, 3000, f"{DEVICES}1000 {LIMIT}=5"),
    ],
    ids=str,
)
def test_several_devices_get_threads_and_time(environment: dict[str, str], threads: int, flags: str) -> None:
    prepare_cpu_devices(environment)
    assert environment["PJRT_NPROC"] == str(threads)
    assert environment["XLA_FLAGS"] == flags
