"""Run twice by test_huggingface_processes.py: one of two processes loads a policy onto their devices and saves it.

python in_two_processes.py ADDRESS PROCESS DIRECTORY SAVE_TO
"""

import sys

import jax
import jax.numpy as jnp

from mobile_r1_jax.model.checkpoints import huggingface
from mobile_r1_jax.model.checkpoints.huggingface import load_policy, save_policy
from mobile_r1_jax.model.sharding import make_mesh


def main(address: str, process: str, directory: str, save_to: str) -> None:
    jax.distributed.initialize(address, num_processes=2, process_id=int(process))
    huggingface.WHOLE = 16 * 2**10  # so that parameters go both ways, whole and layer by layer
    policy = load_policy(directory, jnp.bfloat16, mesh=make_mesh("2x2"))
    assert not policy.text.embedding[...].is_fully_addressable
    save_policy(policy, save_to)


if __name__ == "__main__":
    main(*sys.argv[1:])
