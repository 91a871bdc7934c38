"""Runs of the launch command in several real processes, as hosts of one machine with a few CPU devices each."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from types import MappingProxyType

from flax import nnx

from mobile_r1_jax.agent.completion import Completion
from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.agent.progress import Progress
from mobile_r1_jax.agent.prompts import PastTurn, PromptFormat, system_text
from mobile_r1_jax.agent.responses import parse_response
from mobile_r1_jax.agent.screenshots import Resizing, blank_screenshot
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, Turn
from mobile_r1_jax.config import Run
from mobile_r1_jax.model.checkpoints.huggingface import save_policy
from mobile_r1_jax.model.checkpoints.model_directory import find_model
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.tokenizer import load_tokenizer
from mobile_r1_jax.phones.providers.simulated import simulator_tasks
from mobile_r1_jax.rollouts.episodes import Episode
from mobile_r1_jax.rollouts.records import Records
from mobile_r1_jax.rollouts.replay import store_update
from mobile_r1_jax.tasks.suite import Split
from mobile_r1_jax.tasks.task import Task

NOISE = re.compile(r"\[Gloo\]|^[WI]\d{4} |peer ranks")
TINY_BASE = Path(__file__).resolve().parent.parent / "assets" / "tiny-base"
SYSTEM = "Phone. Task: {instruction}"
# Small learning rates: AdamW turns rounding in a gradient near 0 into a whole step, and later updates start from there.
CONFIG = """
name: run
save_every: 1
system: "Phone. Task: {instruction}"
resizing: {scale: 1.0}
shapes: {prompt_tokens: [264], response_tokens: 28, windows: [2], screens: 8}
phones: {count: 4, most_turns: 2, simulated: {size: [112, 224]}}
annotations: {count: 2, popups: 0.0, mistakes: 0.0}
format_finetuning: {updates: 1, batch: 4, micro_batch: 4, frozen: [vision], optimizer: {learning_rate: 1.0e-5}}
action_level: {updates: 1, prompts: 6, micro_batch: 4, group: 4, loss: {beta: 0.04}, optimizer: {learning_rate: 1.0e-5}}
task_level: {updates: 1, tasks: 2, group: 4, micro_batch: 4, loss: {beta: 0.0}, optimizer: {learning_rate: 1.0e-5}}
evaluation: {episodes: 0, unseen_app_episodes: 0}
"""


@dataclass(frozen=True)
class HostRun:
    """The processes of a run, by index, and the run's directory."""

    processes: list[subprocess.Popen[str]]
    directory: Path

    def finish(self, seconds: float = 900) -> list[str]:
        """Return what each process printed, without the words of gloo and XLA. All must succeed."""
        printed = self.printed(seconds)
        assert [process.returncode for process in self.processes] == [0] * len(printed), "\n".join(printed)[-4000:]
        return printed

    def printed(self, seconds: float = 900) -> list[str]:
        outputs = [process.communicate(timeout=seconds)[0] for process in self.processes]
        return ["".join(line for line in one.splitlines(keepends=True) if not NOISE.search(line)) for one in outputs]

    def rows(self) -> list[dict[str, float]]:
        """Return the rows of metrics.jsonl."""
        path = self.directory / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def start_run(
    folder: Path,
    processes: int,
    devices: int,
    *flags: str,
    command: str = "launch",
    tool: str | None = None,
    policy: Path = TINY_BASE,
    last: Sequence[str] = (),
    last_variables: Mapping[str, str] = MappingProxyType({}),
) -> HostRun:
    """Start a command as `processes` hosts of `devices` CPU devices each.

    tool: whose environment says which process is which ("slurm", "mpi"); None: flags say it. last, last_variables: more
    flags and variables of the last process."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(CONFIG)
    words = [sys.executable, "-m", f"mobile_r1_jax.{command}", f"--config={folder / 'config.yaml'}"]
    words += [f"--folder={folder}", f"--policy={policy}", *flags]
    options = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": options, "COLUMNS": "140"}
    environment |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    started = [
        subprocess.Popen(
            [*words, *own_flags, *(last if index == processes - 1 else ())],
            env=environment | variables | (dict(last_variables) if index == processes - 1 else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for index, (own_flags, variables) in enumerate(places(processes, tool))
    ]
    return HostRun(started, folder / ("evaluations" if command == "evaluate" else "") / "run")


def places(processes: int, tool: str | None) -> list[tuple[list[str], dict[str, str]]]:
    """Return the flags and the environment that tell each process its place."""
    if processes == 1:
        return [([], {})]
    port = free_port(61440 if tool else 0)
    if tool == "slurm":
        step = {"SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": f"{processes}", "SLURM_STEP_NUM_NODES": "2"}
        step["SLURM_JOB_ID"] = f"{port - 61440 + 4096}"
        return [([], step | {"SLURM_PROCID": f"{index}", "SLURM_LOCALID": "0"}) for index in range(processes)]
    if tool == "mpi":
        job = {"OMPI_COMM_WORLD_SIZE": f"{processes}", "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}
        job["OMPI_MCA_orte_hnp_uri"] = f"{(port - 61440) << 16}.0;tcp://127.0.0.1:1234"
        return [
            ([], job | {"OMPI_COMM_WORLD_RANK": f"{index}", "OMPI_COMM_WORLD_LOCAL_RANK": "0"})
            for index in range(processes)
        ]
    hosts = [f"--hosts.coordinator=localhost:{port}", f"--hosts.count={processes}"]
    return [([*hosts, f"--hosts.index={index}"], {}) for index in range(processes)]


def free_port(first: int = 0) -> int:
    """Return a port that nothing listens on. first: the lowest, from which on each is tried; 0: any."""
    while True:
        with socket.socket() as free, suppress(OSError):
            free.bind(("localhost", first))
            return free.getsockname()[1]
        first += 1


def write_one_layer_policy(folder: Path) -> Path:
    """Write a random policy with a layer in each tower, which compiles fast, with the tokenizer of the small policy."""
    config = find_model(TINY_BASE, None).config()
    text = replace(config.text, layers=1)
    vision = replace(config.vision, layers=1, full_attention=(0,))
    save_policy(Policy(replace(config, text=text, vision=vision), rngs=nnx.Rngs(0)), folder)
    for file in TINY_BASE.iterdir():
        if not (folder / file.name).exists() and file.suffix != ".safetensors":
            shutil.copy(file, folder)
    return folder


def store_episodes(directory: Path, updates: int = 1) -> tuple[dict[int, Task], dict[int, Episode]]:
    """Store random episodes of different success for the task-level updates of CONFIG, as a killed run leaves them.

    Return the tasks and the episodes of the last update."""
    tokenizer, rng = load_tokenizer(TINY_BASE, None), Random(0)
    prompt_format = PromptFormat(tokenizer, SYSTEM, Resizing(scale=1.0))
    suite = simulator_tasks(replace(Run().phones.simulated, size=(112, 224)))
    for update in range(updates):
        tasks = [task for task in suite.draw(2, update, Split.TRAIN) for _ in range(4)]
        episodes = {}
        for index, task in enumerate(tasks):
            system, turns, prompts, answers, history = system_text(SYSTEM, task.instruction), [], [], [], []
            for _ in range(1 + index % 2):
                screenshot = blank_screenshot((112, 224))
                ids = tuple(rng.randrange(16, 1000) for _ in range(rng.randrange(3, 28)))
                logps = tuple(-6.0 - rng.random() for _ in ids)
                prompts.append(prompt_format.prompt(system, history, screenshot))
                answers.append(parse_response(prompt_format.text(ids), prompts[-1].frame))
                turns.append(Turn(screenshot, prompt_format.text(ids), Completion(ids, logps)))
                history.append(PastTurn(screenshot, ids))
            done = index % 4 == 1
            remaining = [4 - n * (index % 3 == 0) for n in range(len(turns) + 1)]
            progress = tuple(Progress(done, left, 4, n, 3) for n, left in enumerate(remaining))
            ending, outcome = (Ending.SUCCESS, Outcome.DONE) if done else (Ending.OUT_OF_STEPS, Outcome.NOT_DONE)
            record = (task.instruction, task.app, system, tuple(turns), ending, {}, task.id, outcome, progress[-1])
            episodes[index] = Episode(Trajectory(*record), tuple(prompts), tuple(answers), progress)
        folder = directory / "trajectories" / "task_level"
        store_update(Records(folder.parent), folder, update + 1, episodes, [0.0] * len(episodes))
    return dict(enumerate(tasks)), episodes


def assert_same_updates(one: list[dict[str, float]], other: list[dict[str, float]]) -> None:
    """Raise AssertionError unless the losses and gradients of all updates are equal to 1e-5, relative."""
    names = ("loss", "grad_norm", "entropy", "tokens", "reward", "zero_variance_groups", "turns", "kl", "skipped")
    assert [(row["stage"], row["step"]) for row in one] == [(row["stage"], row["step"]) for row in other]
    for row, like in zip(one, other, strict=True):
        for name in names:
            if name in like:
                wanted, found = like[name], row[name]
                assert abs(found - wanted) <= 1e-5 * abs(wanted) + 1e-7, (
                    f"{row['stage']} {row['step']} {name}: {found} {wanted}"
                )
