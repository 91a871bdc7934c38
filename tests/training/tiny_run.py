"""A tiny training run that tests repeat, kill and resume: random policy and batches, real components."""

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mobile_r1_jax.model.config import PolicyConfig, TextConfig, VisionConfig
from mobile_r1_jax.model.inputs import Completions, Prompts
from mobile_r1_jax.model.lora import with_adapters
from mobile_r1_jax.model.lora_settings import LoRA
from mobile_r1_jax.model.packing import Shape, pack_screens
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.rl import GRPO
from mobile_r1_jax.training.checkpoints import open_checkpoints, restore, save
from mobile_r1_jax.training.metrics import MetricsLog
from mobile_r1_jax.training.optimizer_settings import OptimizerSettings
from mobile_r1_jax.training.state import TrainState, create_state
from mobile_r1_jax.training.step import Batch, StepSettings, train_step

CONFIG = PolicyConfig(
    text=TextConfig(vocab=64, width=32, feed_forward=48, layers=2, heads=4, kv_heads=2, mrope_section=(2, 1, 1)),
    vision=VisionConfig(width=16, feed_forward=32, layers=2, heads=2, out_width=32, full_attention=(1,)),
    image_token=60,
    video_token=61,
    vision_start=62,
    vision_end=63,
    eos=(1,),
)
OPTIMIZER = OptimizerSettings(learning_rate=3e-3, warmup_steps=2)
SETTINGS = StepSettings(GRPO(beta=0.0), OPTIMIZER)


def make_policy(seed: int = 0) -> Policy:
    return Policy(CONFIG, rngs=nnx.Rngs(seed))


def make_state(seed: int = 0, optimizer: OptimizerSettings = OPTIMIZER) -> TrainState:
    return create_state(make_policy(seed), optimizer, frozen=("vision",), key=jax.random.key(seed))


def make_bfloat16_state(seed: int = 0, optimizer: OptimizerSettings = OPTIMIZER) -> TrainState:
    """The same state with weights, their gradients and second moments held in bfloat16."""
    policy = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), make_policy(seed))
    return create_state(policy, optimizer, frozen=("vision",), key=jax.random.key(seed))


def make_adapted_state(seed: int = 0, optimizer: OptimizerSettings = OPTIMIZER) -> TrainState:
    """Return a state of adapters. Its base is equal for all seeds, as in a restarted run."""
    policy = with_adapters(make_policy(), LoRA(rank=2, alpha=4), key=jax.random.key(seed))
    return create_state(policy, optimizer, key=jax.random.key(seed))


STATES: dict[str, Callable[..., TrainState]] = {
    "weights": make_state,
    "bfloat16 weights": make_bfloat16_state,
    "adapters": make_adapted_state,
}


def make_batch(seed: int, rows: int = 2, group: int = 3, prompt: int = 10, completion: int = 4) -> Batch:
    """Return a batch: a screen of two merged tokens per row, uneven prompts and completions."""
    rng = np.random.default_rng(seed)
    screens, places = pack_screens(
        list(rng.normal(size=(rows, 8, CONFIG.vision.patch_values)).astype(np.float32)),
        [(56, 28)] * rows,
        config=CONFIG.vision,
        shape=Shape(rows, 1),
    )
    image_index = np.full((rows, prompt), -1, np.int32)
    image_index[:, 2:4] = places
    lengths = rng.integers(5, prompt + 1, size=(rows, 1))
    prompts = Prompts(
        ids=rng.integers(2, 60, size=(rows, prompt)).astype(np.int32),
        positions=np.broadcast_to(np.arange(prompt, dtype=np.int32), (3, rows, prompt)),
        mask=np.arange(prompt) < lengths,
        image_index=image_index,
    )
    shape = (rows, group, completion)
    completions = Completions(
        ids=rng.integers(2, 60, size=shape).astype(np.int32),
        mask=np.arange(completion) < rng.integers(1, completion + 1, size=(*shape[:2], 1)),
        logps=-rng.exponential(size=shape).astype(np.float32),
        advantages=rng.normal(size=shape[:2]).astype(np.float32),
    )
    return Batch(screens, prompts, completions)


def run(directory: Path, updates: int, learning: str = "weights", checkpoint_folder: str | None = None) -> None:
    """Make updates up to that number, starting at the directory's last checkpoint; log and save each."""
    make = STATES[learning]
    with open_checkpoints(checkpoint_folder or directory / "checkpoints") as checkpoints:
        state, done, position = make(), 0, {"batch": 0}
        if checkpoints.latest_step() is not None:
            # Another seed: the test fails if restoring misses something.
            state, done, position = restore(checkpoints, make(seed=1))
        log = MetricsLog(directory, "tiny", after_step=done)
        while done < updates:
            # The noise replaces sampling: the batch depends on the run's key and on the data.
            noise = jax.random.normal(jax.random.fold_in(state.key, done), ())
            batch = make_batch(position["batch"])
            batch.completions.advantages[:] += np.asarray(noise)
            state, metrics = train_step(state, batch, settings=SETTINGS)
            done, position = done + 1, {"batch": position["batch"] + 1}
            log.write(done, metrics)
            save(checkpoints, state, done, position)


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
