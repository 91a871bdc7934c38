"""python benchmarks/shared_prompt.py: a GRPO step on shared prompts against the same step on repeated prompts.

A prompt of P tokens has G completions of C tokens each. The shared layout costs P + G * C tokens. The usual layout
repeats the prompt and costs G * (P + C). Both use the same policy (text, five million parameters, float32) and tokens
and give the same gradients. They run in one process, in turns; the table has medians of the repetitions. Memory is the
compiler's figure for the temporaries of the gradients' program.
"""

import argparse
import statistics
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from rich.console import Console
from rich.table import Table

from mobile_r1_jax.model.config import PolicyConfig, TextConfig, VisionConfig
from mobile_r1_jax.model.inputs import Completions, EncodedScreens, Prompts
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.rl import GRPO, count_totals
from mobile_r1_jax.training.optimizer_settings import OptimizerSettings
from mobile_r1_jax.training.state import TrainState, create_state
from mobile_r1_jax.training.step import Batch, StepSettings, batch_gradients, placement_of

CONFIG = PolicyConfig(
    text=TextConfig(vocab=4096, width=256, feed_forward=768, layers=5, heads=4, kv_heads=2, mrope_section=(8, 12, 12)),
    vision=VisionConfig(width=32, feed_forward=32, layers=1, heads=2, out_width=256, full_attention=(0,)),
    image_token=4092,
    video_token=4093,
    vision_start=4094,
    vision_end=4095,
    eos=(1,),
)
SETTINGS = StepSettings(GRPO(beta=0.0), OptimizerSettings())


def make_batches(prompts: int, prompt: int, group: int, completion: int) -> tuple[Batch, Batch]:
    """Return the same completions of the same prompts in two layouts: G per row, and one per row."""
    rng = np.random.default_rng(0)
    ids = rng.integers(2, 4000, (prompts, prompt), dtype=np.int32)
    completions = rng.integers(2, 4000, (prompts, group, completion), dtype=np.int32)
    advantages = rng.normal(size=(prompts, group)).astype(np.float32)
    nothing = EncodedScreens(np.zeros((1, 16, CONFIG.vision.out_width), np.float32))

    def batch(ids: np.ndarray, completions: np.ndarray, advantages: np.ndarray) -> Batch:
        positions = np.broadcast_to(np.arange(prompt, dtype=np.int32), (3, *ids.shape))
        text = Prompts(ids, positions, np.ones(ids.shape, bool), np.full(ids.shape, -1, np.int32))
        logps = np.full(completions.shape, -1.0, np.float32)
        return Batch(nothing, text, Completions(completions, np.ones(completions.shape, bool), logps, advantages))

    shared = batch(ids, completions, advantages)
    return shared, batch(np.repeat(ids, group, 0), completions.reshape(-1, 1, completion), advantages.reshape(-1, 1))


def compile_gradients(state: TrainState, batch: Batch) -> tuple[jax.stages.Compiled, tuple[object, ...]]:
    """Return the compiled gradients' program for a batch, and its arguments."""
    arguments = (state.trained, state.frozen, jax.tree.map(jnp.asarray, batch), count_totals(batch.completions.mask))
    keywords = {"graph": state.graph, "placement": placement_of(state.trained), **SETTINGS.objective}
    return batch_gradients.lower(*arguments, **keywords).compile(), arguments


def time_call(program: jax.stages.Compiled, arguments: tuple[object, ...]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(program(*arguments))
    return time.perf_counter() - began


def compare(state: TrainState, shape: Sequence[int], repetitions: int) -> tuple[str, ...]:
    """Return a row of the table for (prompts, P, G, C). Raise AssertionError if the gradients of the layouts differ."""
    programs = [compile_gradients(state, batch) for batch in make_batches(*shape)]
    shared, repeated = (program(*arguments)[0] for program, arguments in programs)
    for one, other in zip(jax.tree.leaves(shared), jax.tree.leaves(repeated), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * max(1.0, float(jnp.abs(other).max())))
    times = [[time_call(*program) for program in programs] for _ in range(repetitions)]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    spread = [theirs / ours for ours, theirs in times]
    peaks = [program.memory_analysis().temp_size_in_bytes / 2**20 for program, _ in programs]
    prompts, prompt, group, completion = shape
    return (
        f"{prompts} x {group}",
        f"{prompt} + {completion}",
        f"{1000 * ours:.0f}",
        f"{1000 * theirs:.0f}",
        f"{theirs / ours:.2f} ({min(spread):.2f} to {max(spread):.2f})",
        f"{group * (prompt + completion) / (prompt + group * completion):.2f}",
        f"{peaks[0]:.0f} / {peaks[1]:.0f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    repetitions = parser.parse_args().repetitions
    policy = Policy(CONFIG, rngs=nnx.Rngs(0))
    state = create_state(policy, SETTINGS.optimizer, frozen=("vision",), key=jax.random.key(0))
    table = Table("prompts x G", "P + C", "shared ms", "repeated ms", "times faster", "tokens say", "MiB")
    for shape in ((1, 1300, 4, 200), (1, 1300, 8, 200), (4, 64, 4, 200), (4, 64, 8, 32)):
        table.add_row(*compare(state, shape, repetitions))
    Console().print(table)


if __name__ == "__main__":
    main()
