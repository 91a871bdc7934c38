"""The place of a process among the processes of a run: from flags, or from what a start tool puts into its environment.

Known are Open MPI, Slurm, Cloud TPU slices (GKE and VMs) and indexed Jobs of Kubernetes. Several TPU slices count as
one run. A process alone has no place and needs none.
"""

import importlib.util
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mobile_r1_jax.agent.errors import OneLineError

PORT = 8482  # where process 0 listens, unless the coordinator says otherwise
METADATA = "http://{}/computeMetadata/v1/instance/attributes/{}"
METADATA_SECONDS = 3.0


class PlaceError(OneLineError):
    """The flags or the environment do not say which process of a run this is."""


@dataclass(frozen=True)
class Place:
    """coordinator: HOST:PORT of process 0. devices: numbers of the GPUs of this process; None: all of its host."""

    coordinator: str
    count: int
    index: int
    devices: tuple[int, ...] | None = None


@dataclass(frozen=True)
class _Found:
    """What a start tool says; None where it says nothing."""

    tool: str
    coordinator: str | None = None
    count: int | None = None
    index: int | None = None
    devices: tuple[int, ...] | None = None


def find_place(
    coordinator: str | None = None,
    count: int | None = None,
    index: int | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    devices: Path = Path("/dev"),
) -> Place | None:
    """Return the place of this process, or None for a process alone. An argument that is given replaces what is found.

    devices: the folder of device files, which says whether this machine has TPU chips. Raise PlaceError in one line for
    a place that is not known or impossible.
    """
    if count == 1:
        return None
    try:
        found = _find(environment, devices)
    except (KeyError, ValueError) as error:
        if None in (coordinator, count, index):
            raise PlaceError(
                f"hosts: what the start tool has put into the environment cannot be read ({error}); set "
                "--hosts.coordinator, --hosts.count and --hosts.index, or --hosts.count=1"
            ) from error
        found = _Found("the start tool")
    coordinator, count = coordinator or found.coordinator, count or found.count
    index = found.index if index is None else index
    if count == 1 or (coordinator is None and count is None and index is None):
        return None
    for name, value in (("coordinator", coordinator), ("count", count), ("index", index)):
        if value is None:
            raise PlaceError(f"hosts.{name} is missing: {found.tool} does not say it; add --hosts.{name}=…")
    if not 0 <= index < count:
        raise PlaceError(f"hosts.index is {index}; with hosts.count={count} it must be 0 to {count - 1}")
    match = re.fullmatch(r"(?:[^\s:]+|\[[0-9a-fA-F:]+\]):(\d{1,5})", coordinator, re.ASCII)
    if match is None or not 0 < int(match[1]) < 1 << 16:
        raise PlaceError(f"hosts.coordinator is {coordinator!r}; write it as HOST:PORT, of process 0")
    return Place(coordinator, count, index, found.devices)


def _find(environment: Mapping[str, str], devices: Path) -> _Found:
    if "OMPI_COMM_WORLD_SIZE" in environment:
        return _open_mpi(environment)
    if {"SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"} <= environment.keys():
        return _slurm(environment)
    if has_tpu(devices):
        return _tpu(environment)
    if "JOB_COMPLETION_INDEX" in environment:
        return _Found("an indexed Job of Kubernetes", index=int(environment["JOB_COMPLETION_INDEX"]))
    return _Found("this machine's environment")


def _open_mpi(environment: Mapping[str, str]) -> _Found:
    """Every process has its own GPU, unless it is the only one of its node."""
    uri = re.search(r"(\d+)\.\d+;tcp6?://\[?([^],:]+(?::[^],]+)?)", environment.get("OMPI_MCA_orte_hnp_uri", ""))
    address = None if uri is None else uri[2].split(":")[0] if "tcp6" not in uri[0] else f"[{uri[2]}]"
    coordinator = address and f"{address}:{_port(int(uri[1]) >> 16)}"  # the lower bits number the steps of a job
    local = None
    if int(environment.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1")) > 1:
        local = (int(environment["OMPI_COMM_WORLD_LOCAL_RANK"]),)
    count, index = int(environment["OMPI_COMM_WORLD_SIZE"]), int(environment["OMPI_COMM_WORLD_RANK"])
    return _Found("Open MPI", coordinator, count, index, local)


def _slurm(environment: Mapping[str, str]) -> _Found:
    """Every task has its own GPU, unless it is the only one of its node."""
    first = re.match(r"[^,\[]+(?:\[[^],-]+)?", environment["SLURM_STEP_NODELIST"])
    host = first[0].replace("[", "") if first else "localhost"
    # A shell of `salloc` is a step of one task, in a job of more tasks.
    count = int(environment.get("SLURM_STEP_NUM_TASKS") or environment["SLURM_NTASKS"])
    nodes = int(environment.get("SLURM_STEP_NUM_NODES", "1"))
    local = (int(environment["SLURM_LOCALID"]),) if count > nodes else None
    coordinator = f"{host}:{_port(int(environment['SLURM_JOB_ID']))}"
    return _Found("Slurm", coordinator, count, int(environment["SLURM_PROCID"]), local)


def _port(job: int) -> int:
    """Return the port of a job, as jobs may share a node."""
    return 61440 + job % 4096


def has_tpu(devices: Path) -> bool:
    """Return whether JAX can use TPU chips of this machine: libtpu is installed, and there are device files."""
    there = any(devices.glob("accel[0-9]*")) or any(devices.glob("vfio/[0-9]*"))
    return there and importlib.util.find_spec("libtpu") is not None


def _tpu(environment: Mapping[str, str]) -> _Found:
    """The hosts of a slice, in the order of their numbers; of several slices, slice by slice."""
    names = environment.get("TPU_PROCESS_ADDRESSES", environment.get("TPU_WORKER_HOSTNAMES"))
    if names is not None and " " not in names:  # without TPU hosts, libtpu puts a warning there
        hosts, own = [name.split(":")[0] for name in names.split(",")], environment.get("TPU_WORKER_ID", "0")
        slices = environment
    else:
        if "TPU_SKIP_MDS_QUERY" in environment:
            return _Found("a TPU without metadata")
        own, names = (_metadata(environment, key) for key in ("agent-worker-number", "worker-network-endpoints"))
        if own is None or names is None:
            return _Found("a TPU without metadata")
        hosts = [worker.split(":")[-1] for worker in names.split(",")]  # either HOST, or NAME:ID:IP
        lines = (_metadata(environment, "tpu-env") or "").splitlines()
        pairs = (line.partition(":") for line in lines if ":" in line)
        slices = {key.strip(): value.strip().strip("'") for key, _, value in pairs} | dict(environment)
    first = (slices.get("MEGASCALE_COORDINATOR_ADDRESS") or hosts[0]).split(":")[0]
    number = int(own) + len(hosts) * int(slices.get("MEGASCALE_SLICE_ID") or 0)
    count = len(hosts) * int(slices.get("MEGASCALE_NUM_SLICES") or 1)
    return _Found("this TPU slice", f"{first}:{PORT}", count, number)


def _metadata(environment: Mapping[str, str], key: str) -> str | None:
    """Return an attribute of this VM, or None if there is no metadata server or no such attribute."""
    url = METADATA.format(environment.get("GCE_METADATA_IP", "metadata.google.internal"), key)
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=METADATA_SECONDS) as it:
            return it.read().decode()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise PlaceError(f"the metadata server does not say which worker this is ({error}); start it again") from error
    except OSError:
        return None
