"""A long run needs no more memory than a short one."""

import gc
from pathlib import Path

import jax
import pytest
from tiny_run import SETTINGS, make_batch, make_state

from mobile_r1_jax.sampling.sampler import Sampling, sample
from mobile_r1_jax.training.step import train_step

UPDATES, WARM_UP, BOUND = 1000, 200, 4 * 2**20


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    gc.collect()
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@pytest.mark.slow
def test_host_memory_is_constant_over_a_thousand_updates_with_sampling() -> None:
    state, sampling = make_state(), Sampling(max_tokens=4, stop_ids=(1,))
    held = []
    for number in range(UPDATES):
        batch = make_batch(number)
        keys = jax.random.split(jax.random.key(number), 2)
        samples = sample(state.policy, batch.screens, batch.prompts, keys, group=3, sampling=sampling)
        state, metrics = train_step(state, batch, settings=SETTINGS)
        jax.device_get((samples, metrics))
        if number >= WARM_UP - 1 and (number + 1) % 100 == 0:
            held.append(resident())
    assert max(held) - held[0] < BOUND, [round(bytes_ / 2**20, 1) for bytes_ in held]
