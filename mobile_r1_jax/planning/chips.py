"""Peak rates of chips, and names of topologies: "v5e:2x4" for a TPU slice, "h200:8" for the GPUs of one host."""

import os
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from math import prod
from typing import Any

import jax

GIB = 2**30
GPUS_IN_A_BOX = 8


@dataclass(frozen=True)
class Chip:
    """One device of JAX. Rates are the manufacturer's peaks; memory is what a program can use."""

    name: str
    flops: float  # bfloat16 operations a second
    memory: int  # bytes
    bandwidth: float  # bytes a second, to and from its memory
    links: float  # bytes a second received in a ring of all chips
    compiler: bool  # a TPU: libtpu compiles for it on any machine
    devices: int = 1  # JAX devices of one chip of a topology


# TPU: cloud.google.com/tpu/docs/v5e, /v5p, /v6e, /tpu7x (peak bfloat16, HBM bandwidth); links:
# jax-ml.github.io/scaling-book, a ring of all chips uses two of a chip's four or six links. Usable memory is the limit
# that the TPU compiler states.
# GPU: the manufacturers' data sheets, without sparsity; the driver, NCCL and fragmentation take a tenth of the memory.
CHIPS = {
    "v5e": Chip("TPU v5e", 197e12, int(15.75 * GIB), 0.81e12, 90e9, True),
    "v5p": Chip("TPU v5p", 459e12, int(95.74 * GIB), 2.77e12, 180e9, True),
    "v6e": Chip("TPU v6e", 918e12, int(31.25 * GIB), 1.64e12, 180e9, True),
    # A chip has two chiplets, each a device with half of it. How much of the memory is usable is not published.
    "tpu7x": Chip("TPU7x chiplet", 2307e12 / 2, 96 * GIB, 7.38e12 / 2, 90e9, True, devices=2),
    "a100": Chip("A100 80 GB", 312e12, int(0.9 * 80e9), 2.04e12, 300e9, False),
    "h100": Chip("H100 80 GB", 989e12, int(0.9 * 80e9), 3.35e12, 450e9, False),
    "h200": Chip("H200 141 GB", 989e12, int(0.9 * 141e9), 4.8e12, 450e9, False),
    "b200": Chip("B200 180 GB", 2250e12, int(0.9 * 180e9), 8.0e12, 900e9, False),
}


class PlanError(ValueError):
    """A plan that cannot be made, in one line: what is wrong, and how to correct it."""


@dataclass(frozen=True)
class Topology:
    """A number of devices of one kind of chip."""

    name: str
    chip: Chip
    count: int

    @property
    def per_host(self) -> int:
        """Return the devices of a host: 4 chips, or all of a v5e or v6e slice of up to 8, or the GPUs of a box."""
        if not self.chip.compiler:
            return self.count
        whole = self.name.startswith(("v5e:", "v6e:")) and self.count <= 8
        return self.count if whole else min(self.count, 4 * self.chip.devices)


def parse_topology(name: str) -> Topology:
    """Parse "CHIP:AxB", "CHIP:AxBxC" or "CHIP:COUNT". Raise PlanError in one line for an unknown topology."""
    match = re.fullmatch(r"([a-z]\w*):([1-9]\d*(?:x[1-9]\d*)*)", name)
    if not match:
        raise PlanError(f"--topology {name!r}: write it as CHIP:SHAPE, such as v5e:2x4 or h200:8")
    kind, shape = match.groups()
    if kind not in CHIPS:
        raise PlanError(f"--topology {name}: there is no chip {kind!r} in the table; choose from {', '.join(CHIPS)}")
    if CHIPS[kind].compiler and "x" not in shape:
        example = "2x2x1" if kind in ("v5p", "tpu7x") else "2x4"
        raise PlanError(f"--topology {name}: a TPU slice has a shape; write it as {kind}:{example}")
    count = CHIPS[kind].devices * prod(map(int, shape.split("x")))
    if not CHIPS[kind].compiler and count > GPUS_IN_A_BOX:
        raise PlanError(f"--topology {name}: a plan for GPUs ends at the {GPUS_IN_A_BOX} that a box links together")
    return Topology(name, CHIPS[kind], count)


@cache
def tpu_devices(topology: Topology) -> list[Any]:
    """Return the slice's devices, for compilation only. Every call returns the same devices, because the arguments and
    the mesh of a program must name the same devices.

    Raise PlanError in one line if libtpu is not installed or does not know the slice.
    """
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # otherwise libtpu waits minutes for a metadata server
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # otherwise only one process at a time may use libtpu
    try:
        import libtpu  # noqa: F401
    except ImportError as error:
        raise PlanError(
            f"--topology {topology.name}: its compiler, libtpu, is not installed; pip install 'mobile-r1-jax[tpu]'"
        ) from error
    from jax.experimental import topologies

    # libtpu assumes four chips per host; a single chip needs a host with one.
    host = {"chips_per_host_bounds": (1, 1, 1)} if topology.count == topology.chip.devices else {}
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=topology.name, **host).devices
    except jax.errors.JaxRuntimeError as error:
        reason = " ".join(str(error).split())
        raise PlanError(f"--topology {topology.name}: the TPU compiler has no such slice: {reason}") from error


def compiler_versions() -> str:
    """Return the versions that the TPU compiler's answers depend on, such as "jax 0.10.2, libtpu 0.0.42.1"."""
    return f"jax {version('jax')}, libtpu {version('libtpu')}"
