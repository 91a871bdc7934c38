"""The arguments of a run's programs as shapes, dtypes and shardings: nothing is allocated."""

from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mobile_r1_jax.config import Run
from mobile_r1_jax.model.attention import kernel_for
from mobile_r1_jax.model.config import PolicyConfig
from mobile_r1_jax.model.inputs import Completions, EncodedScreens, Prompts, Screens
from mobile_r1_jax.model.layers import ROWS, loop_for
from mobile_r1_jax.model.lora import with_adapters
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.sharding import shard_batch, shard_policy
from mobile_r1_jax.sampling.slots import Slots, empty_slots, slot_shardings
from mobile_r1_jax.session import most_tokens, screen_rows
from mobile_r1_jax.training.step import Batch

Shape = jax.ShapeDtypeStruct


def bytes_per_chip(tree: Any) -> float:
    """Return the most bytes that one chip holds of a tree of arrays or shapes."""
    return float(sum(bytes_of(leaf) for leaf in jax.tree.leaves(tree)))


def bytes_of(leaf: Any) -> int:
    """Return the bytes of an array or shape on one chip: all of it without a sharding, 4 for a Python number."""
    if isinstance(leaf, int | float):
        return 4
    sharding = leaf.sharding if isinstance(leaf, Shape | jax.Array) else None
    width = 8 if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype.itemsize
    return prod(leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)) * width


def abstract_policy(run: Run, config: PolicyConfig, mesh: Mesh) -> Policy:
    """Return the shapes of the policy that a run loads. Raise ValueError if the mesh does not divide an axis."""
    dtype = jnp.dtype(run.precision.compute)
    # Without devices to compile for, choose what runs on every machine.
    platform = mesh.devices.flat[0].platform if isinstance(mesh, Mesh) else "cpu"

    def make() -> Policy:
        kinds = {"dtype": dtype, "param_dtype": jnp.dtype(run.weights), "remat": run.precision.remat}
        kinds |= {"kernel": kernel_for(platform), "loop": loop_for(platform)}
        policy = Policy(config, rngs=nnx.Rngs(0), **kinds)
        return policy if run.lora is None else with_adapters(policy, run.lora, key=jax.random.key(0))

    return shard_policy(nnx.eval_shape(make), mesh)


def abstract_screens(run: Run, config: PolicyConfig, rows: int, mesh: Mesh) -> Screens:
    """Return the shapes of `rows` rows of screens from `pack_screens`, in the largest bucket of windows."""
    vision, windows = config.vision, max(run.shapes.windows)
    patches = (rows, windows, vision.window_patches)
    shapes = Screens(
        Shape((*patches, vision.patch_values), jnp.float32),
        Shape((*patches, 2), jnp.int32),
        Shape(patches, jnp.int32),
        Shape(patches[:2], jnp.int32),
    )
    return shard_batch(shapes, mesh)


def abstract_prompts(
    run: Run, config: PolicyConfig, rows: int, length: int, mesh: Mesh, *, encoded: bool
) -> tuple[Screens | EncodedScreens, Prompts]:
    """Return the shapes of `rows` prompts from `Session.collate`; encoded: their screens come from a screen cache."""
    if encoded:
        tokens = (2 * rows, most_tokens(run, config.vision), config.vision.out_width)
        screens = shard_batch(EncodedScreens(Shape(tokens, jnp.dtype(run.precision.compute))), mesh)
    else:
        screens = abstract_screens(run, config, max(screen_rows(rows, mesh)), mesh)
    ids, positions, mask = (
        Shape((*lead, rows, length), kind) for lead, kind in (((), jnp.int32), ((3,), jnp.int32), ((), jnp.bool_))
    )
    return screens, shard_batch(Prompts(ids, positions, mask, ids), mesh)


def abstract_batch(
    run: Run, config: PolicyConfig, rows: int, group: int, length: int, mesh: Mesh, *, encoded: bool, reference: bool
) -> Batch:
    """Return the shapes of a micro-batch, with the reference's log-probabilities if there is a KL term."""
    screens, prompts = abstract_prompts(run, config, rows, length, mesh, encoded=encoded)
    shape = (rows, group, run.shapes.response_tokens)
    kinds = (jnp.int32, jnp.bool_, jnp.float32)
    completions = Completions(*(Shape(shape, kind) for kind in kinds), Shape(shape[:2], jnp.float32))
    completions = shard_batch(completions, mesh)
    return Batch(screens, prompts, completions, completions.logps if reference else None)


def abstract_slots(run: Run, policy: Policy, mesh: Mesh) -> Slots:
    """Return the shapes of the slots of `Session.engine`, with their shardings."""
    sharding = NamedSharding(mesh, PartitionSpec(ROWS))
    rows, prompt, own = run.slots, max(run.shapes.prompt_tokens), run.shapes.response_tokens
    make = partial(empty_slots, rows=rows, prompt_tokens=prompt, own_tokens=own, sharding=sharding)
    slots = jax.eval_shape(make, policy)
    return jax.tree.map(lambda leaf, one: Shape(leaf.shape, leaf.dtype, sharding=one), slots, slot_shardings(slots))


def forbidden(config: PolicyConfig) -> tuple[int, ...]:
    """Return the ids of `Session.forbidden` that a config.json names; the unused end of the vocabulary is not known."""
    return config.image_token, config.video_token, config.vision_start, config.vision_end


def with_shardings_of(shapes: Any, like: Any) -> Any:
    """Return the shapes with the shardings of `like`, a tree of the same structure."""
    return jax.tree.map(lambda leaf, one: Shape(leaf.shape, leaf.dtype, sharding=one.sharding), shapes, like)
