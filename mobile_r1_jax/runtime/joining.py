"""The start and the end of a process among the others of a run: the roll call, the same code on all, then JAX."""

import asyncio
import hashlib
import json
import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax

from mobile_r1_jax.runtime.hosts import Hosts
from mobile_r1_jax.runtime.interrupts import Interrupted, Interrupts
from mobile_r1_jax.runtime.links import call_roll
from mobile_r1_jax.runtime.places import Place

LIBRARIES = ("jax", "jaxlib", "libtpu", "flax", "optax", "orbax-checkpoint", "tensorstore", "transformers", "numpy")


@contextmanager
def join_hosts(place: Place | None, seconds: float, interrupts: Interrupts) -> Iterator[Hosts]:
    """Yield the hosts of a run, with JAX started on all of them. Enter it before anything touches a device.

    A signal to one host stops all. At the end all wait for each other; if one fails, all end. seconds: how long to wait
    for the other processes. Raise PlaceError or HostsError in one line."""
    hosts = Hosts(place, call_roll(place, seconds) if place else {})
    interrupts.watch(lambda: hosts.unsaved)
    if place is None:
        yield hosts
        return
    interrupts.stop_by(hosts.stop)
    hosts.on_stop(interrupts.follow)
    try:
        hosts.agree(code_and_libraries())
        start_jax(place, hosts, seconds)
        yield hosts
        hosts.leave(jax.distributed.shutdown)
    except BaseException as error:
        if not hosts.stopping or not isinstance(error, (Interrupted, asyncio.CancelledError)):
            hosts.fail(error)
            raise
        hosts.leave(jax.distributed.shutdown)
        raise interrupts.interrupted() from None


def is_joined() -> bool:
    """Return whether this process is among others that run, or that have not ended together with it."""
    return jax.distributed.is_initialized()


def start_jax(place: Place, hosts: Hosts, seconds: float) -> None:
    """Make the devices of all hosts known to each other."""
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    # JAX's own handler of SIGTERM would replace that of runtime/interrupts.py, which also cancels what the phones do.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        f"{place.coordinator.rpartition(':')[0]}:{hosts.of_first('port', port)}",
        place.count,
        place.index,
        local_device_ids=place.devices,
        cluster_detection_method="deactivate",
        initialization_timeout=max(1, int(seconds)),
    )
    jax.devices()  # now, as it waits for all hosts


def code_and_libraries() -> dict[str, str]:
    """Return what every host of a run must have alike: the version of this code, of Python and of the libraries."""
    facts = {"Python": ".".join(platform.python_version_tuple()[:2]), "the code": _hash_code()}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            facts[name] = version(name)
    return facts


def _hash_code() -> str:
    """Return a short hash of the project's Python files: their paths and contents."""
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for folder in (package, package.parent / "data_pipelines"):
        for file in sorted(folder.rglob("*.py")):
            digest.update(json.dumps([str(file.relative_to(package.parent)), file.stat().st_size]).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
