"""Load a checkpoint, or save one, and report its memory. test_huggingface_memory.py runs this in a separate process.

    python loading_memory.py DIRECTORY MESH [SAVE_TO]

Print "ready" after the warm-up, which compiles all programs on `DIRECTORY`. Then wait for a line, measure, and print as
JSON the peak memory of Python and NumPy and the memory of the devices.
"""

import gc
import json
import sys
import tracemalloc

import jax
import jax.numpy as jnp

from mobile_r1_jax.model.checkpoints.huggingface import load_policy, save_policy
from mobile_r1_jax.model.sharding import make_mesh


def main(directory: str, mesh: str, save_to: str | None = None) -> None:
    devices = make_mesh(mesh)
    policy = load_policy(directory, jnp.bfloat16, mesh=devices)
    if save_to is None:
        del policy
    gc.collect()
    print("ready", flush=True)
    sys.stdin.readline()
    tracemalloc.start()
    if save_to is None:
        policy = load_policy(directory, jnp.bfloat16, mesh=devices)
    else:
        save_policy(policy, save_to)
    peak = tracemalloc.get_traced_memory()[1]
    held = sum(shard.data.nbytes for leaf in jax.tree.leaves(policy) for shard in leaf.addressable_shards)
    print(json.dumps({"python_peak": peak, "devices": held}), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
