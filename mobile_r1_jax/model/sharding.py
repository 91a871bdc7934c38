"""Shardings of parameters and batches on a mesh of ("replica", "fsdp", "tensor") devices.

Rows of the batch are split over "replica" and "fsdp". One axis of every matrix is split over "fsdp". Heads,
feed-forward and vocabulary are split over "tensor". Every replica holds all parameters, so replicas exchange gradients
only, once per update. A replica can thus be a TPU slice on a slow network.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import jax
import numpy as np
from flax import nnx
from jax.experimental.mesh_utils import create_hybrid_device_mesh
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mobile_r1_jax.model.config import PolicyConfig
from mobile_r1_jax.model.inputs import Prompts
from mobile_r1_jax.model.layers import ROWS
from mobile_r1_jax.model.policy import Policy

T = TypeVar("T")  # Screens, EncodedScreens, Prompts, Completions, or a tuple of them

AXES = ("replica", "fsdp", "tensor")

# Path of the parameter (the first match counts) -> how its axes are split, and their names. L: layers.
RULES: list[tuple[str, P, str]] = [
    (r"text\.(embedding|head)", P("tensor", "fsdp"), "vocab width"),
    (r"text\.layers\.(q|k|v)\.kernel", P(None, "fsdp", "tensor"), "L width heads*head_width"),
    (r"text\.layers\.(q|k|v)\.bias", P(None, "tensor"), "L heads*head_width"),
    (r"vision\.layers\.qkv_kernel", P(None, "fsdp", None, "tensor"), "L width 3 heads*head_width"),
    (r"vision\.layers\.qkv_bias", P(None, None, "tensor"), "L 3 heads*head_width"),
    (r".*\.layers\.out\.kernel", P(None, "tensor", "fsdp"), "L heads*head_width width"),
    (r".*\.feed_forward\.(gate|up)\.kernel", P(None, "fsdp", "tensor"), "L width feed_forward"),
    (r".*\.feed_forward\.(gate|up)\.bias", P(None, "tensor"), "L feed_forward"),
    (r".*\.feed_forward\.down\.kernel", P(None, "tensor", "fsdp"), "L feed_forward width"),
    (r"vision\.patch_embedding\.kernel", P(None, "fsdp"), "patch_values width"),
    (r"vision\.merger_up\.kernel", P("fsdp", "tensor"), "merged_width merged_width"),
    (r"vision\.merger_up\.bias", P("tensor"), "merged_width"),
    (r"vision\.merger_down\.kernel", P("tensor", "fsdp"), "merged_width out_width"),
    (r"text\.layers\.(q|k|v|feed_forward\.(gate|up))\.adapter\.a", P(None, "fsdp"), "L width rank"),
    (r"text\.layers\.(q|k|v|feed_forward\.(gate|up))\.adapter\.b", P(None, None, "tensor"), "L rank outer"),
    (r"text\.layers\.(out|feed_forward\.down)\.adapter\.a", P(None, "tensor"), "L inner rank"),
    (r"text\.layers\.(out|feed_forward\.down)\.adapter\.b", P(None, None, "fsdp"), "L rank width"),
    (r".*\.(scale|bias)", P(), "small, whole on every device"),
]


def make_mesh(shape: str | None, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Return a mesh of `devices` (None: all devices).

    If the devices are in several slices and their number divides R, each replica is within one slice.

    Args:
      shape: "AxB", with A devices along "fsdp" and B along "tensor"; "RxAxB", with R replicas; None: all along "fsdp".

    Raises ValueError in one line if the number of devices is another."""
    devices = jax.devices() if devices is None else devices
    sizes = mesh_shape(shape, len(devices))
    types = (AxisType.Auto,) * len(AXES)
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices == 1 or sizes[0] % slices:
        return jax.make_mesh(sizes, AXES, axis_types=types, devices=devices)
    in_a_slice = (sizes[0] // slices, *sizes[1:])
    return Mesh(create_hybrid_device_mesh(in_a_slice, (slices, 1, 1), devices), AXES, axis_types=types)


def mesh_shape(shape: str | None, devices: int) -> tuple[int, int, int]:
    """Return (R, A, B) of the mesh "RxAxB" or "AxB"; None puts all devices along A.

    Raises ValueError in one line if R * A * B is not the number of devices."""
    shape = shape or f"{devices}x1"
    if not re.fullmatch(r"([1-9]\d*x)?[1-9]\d*x[1-9]\d*", shape):
        raise ValueError(f"mesh {shape!r}: write it as FSDPxTENSOR, for example 8x1, or as REPLICASxFSDPxTENSOR")
    given = [int(number) for number in shape.split("x")]
    if math.prod(given) != devices:
        needed = " * ".join(map(str, given))
        replicas = given[0] if len(given) == len(AXES) and devices % given[0] == 0 else 1
        nearest = _names(replicas, devices // replicas, _nearest(given[-1], _divisors(devices // replicas)))
        raise ValueError(f"mesh {shape}: {needed} devices needed, {devices} are there; nearest: {nearest}")
    replicas, fsdp, tensor = [1, *given][-len(AXES) :]
    return replicas, fsdp, tensor


def mesh_name(replicas: int, fsdp: int, tensor: int) -> str:
    """Return the name of a mesh: "RxAxB", or "AxB" for one replica."""
    return f"{replicas}x{fsdp}x{tensor}" if replicas > 1 else f"{fsdp}x{tensor}"


def row_shards(mesh: Mesh | AbstractMesh) -> int:
    """Return the number of shards that the rows of a batch are split into."""
    return math.prod(mesh.shape[axis] for axis in ROWS)


def computing_on(mesh: Mesh) -> AbstractContextManager[None]:
    """Return a context in which activations stay split by rows (`layers.shard_rows`); on one device it does nothing.

    It is valid only in the thread that enters it.
    """
    return jax.set_mesh(mesh) if mesh.size > 1 else nullcontext()


def parameter_shardings(
    config: PolicyConfig, shapes: dict[str, tuple[int, ...]], mesh: Mesh
) -> dict[str, NamedSharding]:
    """Return the sharding of every parameter.

    Args:
      shapes: path, such as "text.layers.q.kernel", -> shape.

    Raises:
      ValueError: one line with the dimension that the mesh does not divide, and the nearest valid meshes of as many
        devices.
    """
    sizes = dict(mesh.shape)
    if problem := next(_undivided(config, shapes, sizes), None):
        raise ValueError(
            f"mesh {mesh_name(*(sizes[axis] for axis in AXES))}: {problem}; {_advice(config, shapes, sizes)}"
        )
    return {path: NamedSharding(mesh, _rule(path, config, sizes["tensor"])[0]) for path in shapes}


def _rule(path: str, config: PolicyConfig, tensor: int) -> tuple[P, str]:
    """Return how the parameter at `path` is split, and the names of its axes."""
    spec, axes = next((spec, axes) for pattern, spec, axes in RULES if re.fullmatch(pattern, path))
    if re.fullmatch(r"text\.layers\.(k|v)\..*", path) and config.text.kv_heads % tensor:
        # Fewer key-value heads than devices: every device along "tensor" holds all of them.
        spec = P(*(None if axis == "tensor" else axis for axis in spec))
    return spec, axes


def _undivided(config: PolicyConfig, shapes: Mapping[str, tuple[int, ...]], sizes: Mapping[str, int]) -> Iterator[str]:
    """Yield each dimension that a mesh of these sizes does not divide, in words."""
    for name, heads in {"text.heads": config.text.heads, "vision.heads": config.vision.heads}.items():
        if heads % sizes["tensor"]:
            yield f"{name} = {heads} does not divide by tensor = {sizes['tensor']}"
    for path, shape in shapes.items():
        spec, axes = _rule(path, config, sizes["tensor"])
        for axis, name, size in zip(spec, axes.split(), shape, strict=False):
            if axis and size % sizes[axis]:
                yield f"{path}: {name} = {size} does not divide by {axis} = {sizes[axis]}"


def _advice(config: PolicyConfig, shapes: Mapping[str, tuple[int, ...]], sizes: Mapping[str, int]) -> str:
    """Return the nearest valid meshes of as many devices, in words."""
    devices = sizes["fsdp"] * sizes["tensor"]
    fitting = [
        tensor
        for tensor in _divisors(devices)
        if not any(_undivided(config, shapes, {**sizes, "fsdp": devices // tensor, "tensor": tensor}))
    ]
    if not fitting:
        return f"no mesh of {devices} devices divides this policy: use fewer devices"
    return "nearest that do: " + _names(sizes["replica"], devices, _nearest(sizes["tensor"], fitting))


def _names(replicas: int, devices: int, tensors: Iterable[int]) -> str:
    """Return the names of meshes with `devices` per replica, one for each of `tensors`."""
    return ", ".join(mesh_name(replicas, devices // tensor, tensor) for tensor in tensors)


def _nearest(tensor: int, others: Iterable[int]) -> list[int]:
    """Return the up to three of `others` whose ratio to `tensor` is nearest to 1."""
    return sorted(others, key=lambda other: abs(math.log(other / tensor)))[:3]


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def shard_policy(policy: Policy, mesh: Mesh) -> Policy:
    """Return the policy with every parameter placed by RULES. Raises ValueError as `parameter_shardings`."""
    graph, state = nnx.split(policy)
    flat = {".".join(path): variable for path, variable in nnx.to_flat_state(state)}
    shardings = parameter_shardings(policy.config, {path: v.shape for path, v in flat.items()}, mesh)
    for path, variable in flat.items():
        variable.set_value(_put(variable.get_value(), shardings[path]))
    return nnx.merge(graph, state)


def gather_weights(policy: Policy) -> Policy:
    """Return the policy with its language model split over "tensor" only. Arrays on one device are shared.

    Each decoded token reads every weight. Weights split over "fsdp" would be gathered again for each token. Here they
    are gathered once, and decoding reads them from the device's own memory.
    """
    graph, text, rest = nnx.split(policy, lambda path, _: path[0] == "text", ...)
    return nnx.merge(graph, jax.tree.map(_gathered_along_fsdp, text), rest)


def _gathered_along_fsdp(x: jax.Array | jax.ShapeDtypeStruct) -> jax.Array | jax.ShapeDtypeStruct:
    if not isinstance(x.sharding, NamedSharding) or x.sharding.mesh.shape["fsdp"] == 1:
        return x
    spec = P(*(None if axis == "fsdp" else axis for axis in x.sharding.spec))
    return _put(x, NamedSharding(x.sharding.mesh, spec))


def _put(x: jax.Array | np.ndarray | jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.Array | jax.ShapeDtypeStruct:
    """Return x placed by `sharding`; for a ShapeDtypeStruct, the struct with this sharding."""
    if isinstance(x, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    return jax.device_put(x, sharding)


def shard_batch(batch: T, mesh: Mesh) -> T:
    """Split the rows of a batch (for Screens, the rows of screens) over ROWS.

    Args:
      batch: arrays or ShapeDtypeStructs; a tuple is placed part by part.

    Raises:
      ValueError: one line, if these axes do not divide the number of rows.
    """
    if isinstance(batch, tuple):
        return tuple(shard_batch(part, mesh) for part in batch)

    def place(path: tuple, x: jax.Array | np.ndarray) -> jax.Array:
        spec = _row_spec(batch, path)
        rows, shards = x.shape[len(spec) - 1], row_shards(mesh)
        if rows % shards:
            raise ValueError(
                f"mesh: {rows} rows of {type(batch).__name__} do not divide by replica * fsdp = {shards}; "
                "choose buckets that are multiples of it"
            )
        return _put(x, NamedSharding(mesh, spec))

    return jax.tree_util.tree_map_with_path(place, batch)


def place_own_rows(batch: T, mesh: Mesh) -> T:
    """Return a batch over ROWS of which each host gives the rows that its own devices hold, in their order.

    All hosts give as many rows and the same shapes; nothing is sent between them.
    """

    def place(path: tuple, x: np.ndarray) -> jax.Array:
        return jax.make_array_from_process_local_data(NamedSharding(mesh, _row_spec(batch, path)), x)

    return jax.tree_util.tree_map_with_path(place, batch)


def _row_spec(batch: object, path: tuple) -> P:
    """Return how an array of a batch is split: over its rows, which are the second axis of positions."""
    return P(None, ROWS) if isinstance(batch, Prompts) and path[-1].name == "positions" else P(ROWS)
