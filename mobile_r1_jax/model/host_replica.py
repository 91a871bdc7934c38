"""A copy of the policy on the devices of one host, for sampling at that host's own pace.

Programs of the whole mesh need all hosts at the same time. A host that answers its phones runs programs of its own
devices alone. Its devices form a block of the mesh. The copy is split inside the block as the policy is split over the
mesh: an axis that crosses hosts splits nothing between them.
"""

from math import prod
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mobile_r1_jax.model.layers import ROWS
from mobile_r1_jax.model.sharding import AXES, mesh_name

T = TypeVar("T")  # a pytree of arrays on the mesh


def check_hosts(mesh: Mesh) -> None:
    """Raise ValueError in one line if a host of the mesh could not hold a copy of the policy, or its own rows.

    Every host needs a block of the mesh, of the same shape for all, with all devices along "tensor"."""
    owners = np.vectorize(lambda device: device.process_index)(mesh.devices)
    hosts = len(np.unique(owners))
    if hosts == 1:
        return
    name, devices = mesh_name(*mesh.devices.shape), mesh.size // hosts
    for process in range(hosts):
        places = np.argwhere(owners == process)
        block = places.max(axis=0) - places.min(axis=0) + 1
        if prod(block) != len(places) or len(places) != devices:
            raise ValueError(
                f"mesh {name}: the {len(places)} devices of host {process} are not a block of it; "
                f"use a multiple of {devices} along fsdp"
            )
        if block[2] != mesh.shape["tensor"]:
            most = min(devices, mesh.shape["tensor"])
            raise ValueError(
                f"mesh {name}: tensor = {mesh.shape['tensor']} crosses hosts of {devices} device(s), so none could "
                f"hold the policy to sample; nearest: {mesh_name(mesh.shape['replica'], *_other(mesh, most))}"
            )


def _other(mesh: Mesh, tensor: int) -> tuple[int, int]:
    return mesh.shape["fsdp"] * mesh.shape["tensor"] // tensor, tensor


def sampling_mesh(mesh: Mesh) -> Mesh:
    """Return the mesh of this host's own devices; the mesh itself if there is no other host."""
    return mesh.local_mesh if mesh.is_multi_process else mesh


def host_replica(tree: T, mesh: Mesh) -> T:
    """Return arrays of the mesh on this host's own devices. All hosts call it together.

    Axes that cross hosts are gathered once. Arrays on this host alone are not copied."""
    local = sampling_mesh(mesh)
    if local is mesh:
        return tree
    sizes = [
        size for whole, own in zip(mesh.devices.shape, local.devices.shape, strict=True) for size in (whole // own, own)
    ]
    names = [name for axis in AXES for name in (f"{axis} over hosts", axis)]
    blocks = Mesh(mesh.devices.reshape(sizes), names, axis_types=(AxisType.Auto,) * len(names))

    def copy(array: jax.Array) -> jax.Array:
        spec = array.sharding.spec if isinstance(array.sharding, NamedSharding) else P()
        if array.sharding.is_fully_addressable:
            return array
        whole = jax.device_put(array, NamedSharding(blocks, spec))  # "fsdp" now means the part inside a host
        shards = [shard.data for shard in whole.addressable_shards]
        return jax.make_array_from_single_device_arrays(array.shape, NamedSharding(local, spec), shards)

    return jax.tree.map(copy, tree)


def own_rows(mesh: Mesh, rows: int) -> np.ndarray:
    """Return the numbers, ascending, of this host's rows among the `rows` rows of a batch on the mesh: int32."""
    places = NamedSharding(mesh, P(ROWS)).addressable_devices_indices_map((rows,))
    return np.array(sorted({row for (part,) in places.values() for row in range(*part.indices(rows))}), np.int32)
