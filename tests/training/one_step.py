"""Make an update by each stage's loss, in one process or as one of two, and save the results.

test_two_processes.py runs this:

python one_step.py ADDRESS PROCESSES PROCESS SAVE_TO
"""

import sys

import jax
import numpy as np
import tiny_run
from jax.experimental import multihost_utils

from mobile_r1_jax.model.sharding import computing_on, make_mesh, shard_policy
from mobile_r1_jax.rl import GRPO, Likelihood
from mobile_r1_jax.training.state import create_state
from mobile_r1_jax.training.step import StepSettings, place_batch, train_step

LOSSES = {"format_finetuning": Likelihood(), "action_level": GRPO(beta=0.04), "task_level": GRPO(beta=0.0)}


jax.config.update("jax_disable_most_optimizations", True)  # halves the time of compilation


def main(address: str, processes: str, process: str, save_to: str) -> None:
    if int(processes) > 1:
        jax.distributed.initialize(address, num_processes=int(processes), process_id=int(process))
    assert len(jax.devices()) == 8 and len(jax.local_devices()) == 8 // int(processes)
    mesh = make_mesh("4x2")
    batch = tiny_run.make_batch(0, rows=8)
    found = {}
    for name, loss in LOSSES.items():
        with computing_on(mesh):
            policy = shard_policy(tiny_run.make_policy(), mesh)
            state = create_state(policy, tiny_run.OPTIMIZER, key=jax.random.key(0))
            # The sampler is the reference too: the test only needs one.
            logps = batch.completions.logps if getattr(loss, "beta", 0) else None
            there = place_batch(tiny_run.Batch(batch.screens, batch.prompts, batch.completions, logps), mesh)
            state, metrics = train_step(state, there, settings=StepSettings(loss, tiny_run.OPTIMIZER))
        leaves = multihost_utils.process_allgather(jax.tree.leaves(state.trained), tiled=True)
        found |= {f"{name} {number}": np.asarray(leaf) for number, leaf in enumerate(leaves)}
        found[f"{name} loss"] = np.asarray(metrics["loss"])
    if jax.process_index() == 0:
        np.savez(save_to, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
