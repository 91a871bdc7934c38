"""How parameters and batches lie on a mesh of ("fsdp", "tensor") devices.

Rows of the batch and one axis of every matrix are split over "fsdp"; heads, feed-forward and vocabulary over "tensor".
"""

import re
from typing import TypeVar

import jax
import numpy as np
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from mobile_r1_jax.model.config import PolicyConfig
from mobile_r1_jax.model.inputs import Prompts
from mobile_r1_jax.model.policy import Policy

T = TypeVar("T")  # Screens, EncodedScreens, Prompts, Completions, or a tuple of them

AXES = ("fsdp", "tensor")

# Path of the parameter (first match counts) -> how its axes are split, and what the axes are called. L: layers.
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
    (r".*\.(scale|bias)", P(), "small, whole on every device"),
]


def make_mesh(shape: str) -> Mesh:
    """The mesh "AxB": A devices along "fsdp", B along "tensor"; ValueError in one line when they aren't A * B."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", shape)
    if not match:
        raise ValueError(f"mesh {shape!r}: write it as FSDPxTENSOR, for example 8x1")
    fsdp, tensor = (int(number) for number in match.groups())
    devices = jax.devices()
    if fsdp * tensor != len(devices):
        raise ValueError(f"mesh {shape}: {fsdp} * {tensor} devices needed, {len(devices)} are there")
    return jax.make_mesh((fsdp, tensor), AXES, axis_types=(AxisType.Auto,) * 2)


def parameter_shardings(
    config: PolicyConfig, shapes: dict[str, tuple[int, ...]], mesh: Mesh
) -> dict[str, NamedSharding]:
    """Where every parameter goes; ValueError in one line when heads or an axis don't divide, naming them.

    Args:
      shapes: path, such as "text.layers.q.kernel", -> shape.
    """
    tensor = mesh.shape["tensor"]
    for name, heads in {"text.heads": config.text.heads, "vision.heads": config.vision.heads}.items():
        if heads % tensor:
            raise ValueError(f"mesh: {name} = {heads} does not divide by tensor = {tensor}; choose another mesh")
    shardings = {}
    for path, shape in shapes.items():
        spec, axes = next((spec, axes) for pattern, spec, axes in RULES if re.fullmatch(pattern, path))
        if re.fullmatch(r"text\.layers\.(k|v)\..*", path) and config.text.kv_heads % tensor:
            # Fewer key heads than devices: every device along "tensor" has them all.
            spec = P(*(None if axis == "tensor" else axis for axis in spec))
        for axis, name, size in zip(spec, axes.split(), shape, strict=False):
            if axis and size % mesh.shape[axis]:
                raise ValueError(
                    f"mesh: {path}: {name} = {size} does not divide by {axis} = {mesh.shape[axis]}; choose another mesh"
                )
        shardings[path] = NamedSharding(mesh, spec)
    return shardings


def shard_policy(policy: Policy, mesh: Mesh) -> Policy:
    """The policy with every parameter placed by RULES; ValueError as `parameter_shardings`."""
    graph, state = nnx.split(policy)
    flat = {".".join(path): variable for path, variable in nnx.to_flat_state(state)}
    shardings = parameter_shardings(policy.config, {path: v.shape for path, v in flat.items()}, mesh)
    for path, variable in flat.items():
        variable.set_value(jax.device_put(variable.get_value(), shardings[path]))
    return nnx.merge(graph, state)


def shard_batch(batch: T, mesh: Mesh) -> T:
    """Rows of a batch (screens of Screens) over "fsdp"; a tuple is placed part by part.

    Raises:
      ValueError: one line, when the number of rows or screens does not divide by the fsdp axis.
    """
    if isinstance(batch, tuple):
        return tuple(shard_batch(part, mesh) for part in batch)

    def place(path: tuple, x: jax.Array | np.ndarray) -> jax.Array:
        spec = P(None, "fsdp") if isinstance(batch, Prompts) and path[-1].name == "positions" else P("fsdp")
        rows = x.shape[len(spec) - 1]
        if rows % mesh.shape["fsdp"]:
            raise ValueError(
                f"mesh: {rows} rows of {type(batch).__name__} do not divide by fsdp = {mesh.shape['fsdp']}; "
                "choose buckets that are multiples of it"
            )
        return jax.device_put(x, NamedSharding(mesh, spec))

    return jax.tree_util.tree_map_with_path(place, batch)
