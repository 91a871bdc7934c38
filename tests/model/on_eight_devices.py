"""Compute on eight fake devices and print the results as one line of JSON. test_sharding.py runs this.

python on_eight_devices.py [MESH ...]: the meshes on which gradients and samples are computed too (compiling is slow).
"""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mobile_r1_jax.model.checkpoints import huggingface
from mobile_r1_jax.model.checkpoints.huggingface import load_policy, save_policy
from mobile_r1_jax.model.config import PolicyConfig, TextConfig, VisionConfig
from mobile_r1_jax.model.decode_layout import sampling_copy
from mobile_r1_jax.model.inputs import Prompts
from mobile_r1_jax.model.layers import ROWS as ROW_AXES
from mobile_r1_jax.model.logps import token_logps
from mobile_r1_jax.model.packing import Screens, Shape, pack_screens
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.sharding import make_mesh, parameter_shardings, shard_batch, shard_policy
from mobile_r1_jax.sampling.sampler import Sampling, sample
from mobile_r1_jax.sampling.slots import decode, empty_slots, fill

CONFIG = PolicyConfig(
    text=TextConfig(160, 64, feed_forward=64, layers=2, heads=8, kv_heads=2, mrope_section=(2, 1, 1)),
    vision=VisionConfig(width=32, feed_forward=64, layers=2, heads=8, out_width=64, full_attention=(1,)),
)
ROWS, LENGTH, GROUP, TOKENS = 8, 24, 2, 5
Batch = tuple[Screens, Prompts, np.ndarray, np.ndarray]


def make_batch() -> Batch:
    """Eight prompts of text and one screen each, and two completions of each."""
    rng = np.random.default_rng(0)
    sizes = [(140, 56), (84, 84)] * (ROWS // 2)
    tokens = [width * height // 28**2 for width, height in sizes]
    patches = [rng.normal(size=(count * 4, 1176)).astype(np.float32) for count in tokens]
    screens, places = pack_screens(patches, sizes, config=CONFIG.vision, shape=Shape(ROWS, 2))
    image_index = np.full((ROWS, LENGTH), -1, np.int32)
    for b, count in enumerate(tokens):
        image_index[b, 3 : 3 + count] = places[b]
    mask = np.arange(LENGTH) < rng.integers(15, LENGTH, (ROWS, 1))
    positions = np.tile(np.arange(LENGTH, dtype=np.int32), (3, ROWS, 1))
    prompts = Prompts(rng.integers(0, 160, (ROWS, LENGTH), dtype=np.int32), positions, mask, image_index)
    ids = rng.integers(0, 160, (ROWS, GROUP, TOKENS), dtype=np.int32)
    return screens, prompts, ids, np.ones(ids.shape, bool)


def loss(policy: Policy, screens: Screens, prompts: Prompts, ids: jax.Array, mask: jax.Array) -> jax.Array:
    return -token_logps(policy, policy.completion_hidden(screens, prompts, ids, mask), ids)[0].mean()


def error_of(action: Callable[[], object]) -> str:
    try:
        action()
    except ValueError as error:
        return str(error)
    return "no error"


def compute(policy: Policy, batch: Batch, report: dict, name: str, mesh: Mesh | None = None) -> Policy:
    """Store the loss and the samples (greedy, drawn, and of slots) under `name`; return the gradient."""
    value, gradient = jax.jit(jax.value_and_grad(loss))(policy, *batch)
    report["loss"][name] = float(value)
    keys = jax.random.split(jax.random.key(0), batch[1].ids.shape[0])
    sampler = sampling_copy(policy)
    report["sampler_held"][name] = held(jax.tree.leaves(sampler.text))
    report["samples"][name] = [
        sample(sampler, *batch[:2], keys, group=2, sampling=Sampling(TOKENS, temperature=temperature)).ids.tolist()
        for temperature in (0.0, 1.0)
    ]
    report["slots"][name] = decode_in_slots(sampler, batch, mesh)
    return jax.device_get(gradient)


def decode_in_slots(sampler: Policy, batch: Batch, mesh: Mesh | None) -> dict:
    """Return greedy completions of the prompts, one per slot, the share of the KV caches that one device holds, and
    whether every KV cache keeps its sharding."""
    sharding = None if mesh is None else NamedSharding(mesh, PartitionSpec(ROW_AXES))
    slots = empty_slots(sampler, rows=ROWS, prompt_tokens=LENGTH, own_tokens=TOKENS, sharding=sharding)
    placed, share = [leaf.sharding for leaf in jax.tree.leaves(slots)], held(jax.tree.leaves(slots.prompt))
    nothing, every = np.zeros((ROWS, 1), np.uint32), np.arange(ROWS, dtype=np.int32)[:, None]
    slots = fill(sampler, slots, *batch[:2], nothing, nothing, every)
    columns, greedy = np.arange(LENGTH, dtype=np.int32), Sampling(TOKENS, temperature=0.0)
    slots, chunk = decode(sampler, slots, np.ones(ROWS, bool), columns, greedy, tokens=TOKENS)
    stays = [leaf.sharding for leaf in jax.tree.leaves(slots)] == placed
    return {"ids": chunk.ids[:TOKENS].T.tolist(), "held": share, "stays": stays}


def held(leaves: list[jax.Array]) -> float:
    """Return the share of the arrays that one device holds."""
    return sum(leaf.addressable_shards[0].data.size for leaf in leaves) / sum(leaf.size for leaf in leaves)


def difference(ours: Policy, theirs: Policy) -> float:
    """Return the largest relative difference of two gradients: per parameter, relative to its largest number."""
    shares = jax.tree.map(lambda a, b: float(np.abs(a - b).max() / np.abs(b).max()), ours, theirs)
    return max(jax.tree.leaves(shares))


def main(meshes: list[str]) -> None:
    report = {
        key: {}
        for key in ("loss", "gradient", "samples", "slots", "largest_whole", "held", "sampler_held", "errors", "loaded")
    }
    # Initial weights are too small for samples that depend on the context; norms stay 1.
    policy = jax.tree.map(lambda x: x if (x == 1).all() else 6 * x, Policy(CONFIG, rngs=nnx.Rngs(0)))
    batch = make_batch()
    gradient = compute(policy, batch, report, "one")
    for name in dict.fromkeys(("8x1", *meshes, "4x2")):
        mesh = make_mesh(name)
        sharded = shard_policy(policy, mesh)
        with jax.set_mesh(mesh):
            there = (*shard_batch(batch[:2], mesh), *batch[2:])
            if name in meshes:
                report["gradient"][name] = difference(compute(sharded, there, report, name, mesh), gradient)
            else:
                report["loss"][name] = float(jax.jit(loss)(sharded, *there))
        leaves = jax.tree.leaves(sharded)
        parts = [leaf.addressable_shards[0].data.size for leaf in leaves]
        whole = [leaf.size for leaf, part in zip(leaves, parts, strict=True) if leaf.size == part]
        report["largest_whole"][name] = max(whole)
        report["held"][name] = held(leaves)
    mesh = make_mesh("4x2")
    odd = replace(CONFIG, text=replace(CONFIG.text, vocab=161))
    two_heads = replace(CONFIG, text=replace(CONFIG.text, heads=2, mrope_section=(4, 6, 6)))
    few = jax.tree.map(lambda x: x[..., :6, :], batch[1])
    report["errors"] = {
        "3x2": error_of(lambda: make_mesh("3x2")),
        "2x4x2": error_of(lambda: make_mesh("2x4x2")),
        "8": error_of(lambda: make_mesh("8")),
        "2x4": error_of(lambda: parameter_shardings(two_heads, {}, make_mesh("2x4"))),
        "2x1x4": error_of(lambda: parameter_shardings(two_heads, {}, make_mesh("2x1x4"))),
        "vocab": error_of(lambda: parameter_shardings(odd, {"text.embedding": (161, 32)}, mesh)),
        "none": error_of(lambda: parameter_shardings(odd, {"text.embedding": (163, 31)}, mesh)),
        "rows": error_of(lambda: shard_batch(few, mesh)),
    }
    for way, whole in {"whole": huggingface.WHOLE, "streamed": 0}.items():
        huggingface.WHOLE = whole
        with tempfile.TemporaryDirectory() as directory:
            save_policy(sharded, directory)
            loaded = load_policy(directory, mesh=mesh)
        same = jax.tree.map(lambda a, b: a.sharding == b.sharding and bool((a == b).all()), loaded, sharded)
        report["loaded"][way] = "equal" if all(jax.tree.leaves(same)) else "different"
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
