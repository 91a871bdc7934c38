"""python -m benchmarks.checkpoints: how long a checkpoint stops training, and how much it slows the updates beside it.

A random policy is trained on one batch. In turns, some updates run alone, and then a checkpoint is saved and updates
run until its files are complete. "blocked" is the time until `save` returns; "complete" that until the files are there.
The table has medians of the repetitions, after one warm-up. Machines are noisy: compare the ratios. On a CPU the
updates and the writing threads share the cores; on an accelerator they do not.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace

import jax
from flax import nnx
from rich.console import Console
from rich.table import Table

from benchmarks.shared_prompt import CONFIG, SETTINGS, make_batches
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.training.checkpoint_storage import as_folder, prepare_storage
from mobile_r1_jax.training.checkpoints import open_checkpoints, save
from mobile_r1_jax.training.state import TrainState, create_state
from mobile_r1_jax.training.step import Batch, train_step

LAYERS = 30  # 25 M parameters: 300 MB with the moments of AdamW
ALONE = 5  # updates without writing, in each repetition


def make_state() -> TrainState:
    config = replace(CONFIG, text=replace(CONFIG.text, layers=LAYERS))
    policy = Policy(config, rngs=nnx.Rngs(0))
    return create_state(policy, SETTINGS.optimizer, frozen=("vision",), key=jax.random.key(0))


def update(state: TrainState, batch: Batch) -> tuple[TrainState, float]:
    """Return the state after an update, and the seconds that it took."""
    began = time.perf_counter()
    state, _ = jax.block_until_ready(train_step(state, batch, settings=SETTINGS))
    return state, time.perf_counter() - began


def measure(folder: str, repetitions: int) -> tuple[str, ...]:
    """Return the row of the table for checkpoints in a folder, local or of a bucket."""
    state, (batch, _) = make_state(), make_batches(1, 16, 2, 8)
    size = sum(array.nbytes for array in jax.tree.leaves((state.trained, state.frozen, state.optimizer)))
    blocked, complete, alone, beside, counts = [], [], [], [], []
    with open_checkpoints(as_folder(folder), keep=1) as checkpoints:
        for repetition in range(repetitions + 1):
            quiet, writing = [], []
            for _ in range(ALONE):
                state, seconds = update(state, batch)
                quiet.append(seconds)
            began = time.perf_counter()
            save(checkpoints, state, repetition, {})
            returned = time.perf_counter() - began
            while checkpoints.is_saving_in_progress():
                state, seconds = update(state, batch)
                writing.append(seconds)
            if repetition and writing:  # the first one compiles
                blocked.append(returned)
                complete.append(time.perf_counter() - began)
                alone.append(statistics.median(quiet))
                beside.append(statistics.median(writing))
                counts.append(len(writing))
    ratios = [slow / quick for slow, quick in zip(beside, alone, strict=True)]
    return (
        f"{size / 1e6:.0f}",
        f"{statistics.median(blocked):.2f}",
        f"{statistics.median(complete):.2f}",
        f"{statistics.median(counts):.0f}",
        f"{1000 * statistics.median(alone):.0f}",
        f"{1000 * statistics.median(beside):.0f}",
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--folder", help="an empty folder, local or gs://BUCKET/FOLDER (default: a temporary one)")
    arguments = parser.parse_args()
    table = Table("MB", "blocked s", "complete s", "updates meanwhile", "alone ms", "meanwhile ms", "ratio")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or scratch
        prepare_storage(as_folder(folder))
        table.add_row(*measure(folder, arguments.repetitions))
    Console().print(table)


if __name__ == "__main__":
    main()
