"""Annotations at the size of real phones: python -m benchmarks.streaming --steps 25000 FOLDER

It writes annotated steps of simulated phones into FOLDER (1080x2400; a second call reuses them), converts them with
`data_pipelines.convert`, and streams them as the first stage does: golden steps from Grain, prompts, and patches of the
screenshots in micro-batches. The shapes are those of configs/3b-v5e-8.yaml. The tokenizer is that of the small base
policy. The table shows the speed and the memory of each part, which runs in a separate process.
"""

import argparse
import multiprocessing
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
SIZE = (1080, 2400)
COLUMNS = ("part", "steps", "seconds", "steps/s", "MB while it runs", "MB at its peak")
PARTS = 5  # of a streamed epoch; the memory is noted after each


@dataclass(frozen=True)
class Measurement:
    """steps: how many in `seconds`. memory: of the process, in MB, after each part; the last is the peak."""

    steps: int
    seconds: float
    memory: tuple[int, ...]


def memory_of_process(field: str) -> int:
    """Return the memory of this process in MB: "VmRSS", now, or "VmHWM", its peak."""
    return int(re.search(rf"{field}:\s*(\d+)", Path("/proc/self/status").read_text())[1]) // 1024


def write_annotations(folder: Path, steps: int) -> Measurement:
    """Write trajectories of the simulator's oracle with at least `steps` steps."""
    from mobile_r1_jax.agent.trajectory import Trajectory, write_trajectories
    from mobile_r1_jax.config import Run
    from mobile_r1_jax.phones.providers.simulated import simulator_tasks
    from mobile_r1_jax.tasks.suite import DemonstrationStyle

    run, began, written = Run(), time.perf_counter(), 0
    suite = simulator_tasks(replace(run.phones.simulated, size=SIZE))
    style = DemonstrationStyle(run.system, None, run.annotations.mistakes, run.annotations.popups)

    def enough() -> Iterator[Trajectory]:
        nonlocal written
        for trajectory in suite.demonstrations(steps, 0, style):
            if written >= steps:
                return
            written += len(trajectory.turns)
            yield trajectory

    write_trajectories(folder, enough())
    return Measurement(written, time.perf_counter() - began, (memory_of_process("VmHWM"),))


def convert(source: Path, out: Path, steps: int) -> Measurement:
    """Convert annotations, as the command does. `steps`: how many the source has."""
    from data_pipelines.convert import main

    began = time.perf_counter()
    if main(["--source=mobile_r1", str(source), str(out)]):
        raise SystemExit("the conversion failed")
    return Measurement(steps, time.perf_counter() - began, (memory_of_process("VmHWM"),))


def stream(source: Path, folder: Path, steps: int) -> Measurement:
    """Stream one epoch in micro-batches, as the first stage does without a cache of encoded screens."""
    import jax

    from data_pipelines.steps import stream_steps
    from mobile_r1_jax.config import parse_run
    from mobile_r1_jax.session import open_session
    from mobile_r1_jax.stages.format_finetuning import golden_group
    from mobile_r1_jax.stages.golden import golden_steps

    flags = [f"--config={ROOT / 'configs' / '3b-v5e-8.yaml'}", f"--policy={ROOT / 'assets' / 'tiny-base'}"]
    flags += ["--mesh=1x1", f"--folder={folder}", "--name=stream", f"--annotations.directory={source}"]
    flags += ["--action_level.annotations=null", "--precision.compute=float32"]
    run = parse_run("launch", [*flags, "--phones.most_turns=5"])  # the small tokenizer makes longer prompts
    session, _ = open_session(run, Console(stderr=True))
    run.directory.mkdir(parents=True, exist_ok=True)
    table, settings = golden_steps(session).format_finetuning, run.format_finetuning
    epoch = iter(stream_steps(table, session.prompt_format.tokenizer, seed=0, epochs=1))
    began, streamed, memory = time.perf_counter(), 0, []
    while golden := list(islice(epoch, settings.batch)):
        groups = [golden_group(step) for step in golden]
        jax.block_until_ready(session.batches(groups, settings.micro_batch, 1, None))
        streamed += len(golden)
        if streamed * PARTS >= (len(memory) + 1) * min(steps, len(table.steps)):
            memory.append(memory_of_process("VmRSS"))
    return Measurement(streamed, time.perf_counter() - began, (*memory, memory_of_process("VmHWM")))


def alone(part: Callable[..., Measurement], *arguments: Any) -> Measurement:
    """Run a part in a separate process and return its measurements."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(part, *arguments).result()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=25_000)
    arguments = parser.parse_args()
    folder, steps = arguments.folder / f"{arguments.steps}-steps", arguments.steps
    annotations, table = folder / "annotations", Table(*COLUMNS)

    def run(name: str, part: Callable[..., Measurement], *arguments: Any) -> None:
        one = alone(part, *arguments)
        *during, peak = one.memory
        speed = f"{one.steps / one.seconds:.1f}"
        cells = name, f"{one.steps:,}", f"{one.seconds:.0f}", speed, ", ".join(map(str, during)), str(peak)
        table.add_row(*cells)
        print(*cells, sep=" | ", flush=True)  # at once: a part takes minutes

    if not annotations.exists():
        run("write", write_annotations, folder / "draft", steps)
        (folder / "draft").rename(annotations)
    size = sum(file.stat().st_size for file in annotations.rglob("*") if file.is_file()) / 1e6
    if not (folder / "converted" / "README.md").exists():
        run(f"convert {size:,.0f} MB", convert, annotations, folder / "converted", steps)
    run("stream", stream, annotations, folder, steps)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
