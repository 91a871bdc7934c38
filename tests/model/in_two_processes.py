"""Load a policy onto the devices of two processes and save it. test_huggingface_processes.py runs this twice.

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
    huggingface.WHOLE = 16 * 2**10  # so that some parameters are loaded whole and others by layer
    policy = load_policy(directory, jnp.bfloat16, mesh=make_mesh("2x2"))
    assert not policy.text.embedding[...].is_fully_addressable
    save_policy(policy, save_to)


if __name__ == "__main__":
    main(*sys.argv[1:])
