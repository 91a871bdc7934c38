"""python -m mobile_r1_jax.launch: a policy through all three stages on phones, evaluated before and after each.

With no arguments it runs configs/tiny.yaml, made for two cores and no accelerator. Started again with the same name,
it goes on where it stopped.
"""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # such as that it finds no torch, which is not missed

import jax
import jax.numpy as jnp
from flax import nnx
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer

from mobile_r1_jax.agent.prompts import Past, build_prompt, system_text
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.config import ConfigError, Run, parse_run, save_run
from mobile_r1_jax.model.huggingface import load_policy, save_policy
from mobile_r1_jax.model.lora import with_adapters
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.sharding import computing_on, make_mesh, mesh_name, sampling_copy, shard_policy
from mobile_r1_jax.phones.fleet import Fleet
from mobile_r1_jax.phones.simulated import simulated_fleet
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.phones.simulator.tasks import draw_tasks, held_out_instructions
from mobile_r1_jax.report import ReportError, write_report
from mobile_r1_jax.rewards.state_judge import StateJudge
from mobile_r1_jax.stages import action_level, format_finetuning, task_level
from mobile_r1_jax.stages.context import Context, fitted
from mobile_r1_jax.stages.episodes import Speaker, run_episodes
from mobile_r1_jax.stages.evaluation import COLUMNS, Result, measure, read_results, table_rows, write_result
from mobile_r1_jax.stages.golden import GoldenSteps, check_screen, golden_steps
from mobile_r1_jax.stages.loop import bar
from mobile_r1_jax.stages.records import Records
from mobile_r1_jax.training.compilation_cache import keep_compiled
from mobile_r1_jax.training.host_memory import keep_freed_memory


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    keep_freed_memory()
    console = Console()
    try:
        run = parse_run("launch", arguments)
        context, policy = prepare_run(run, console)
        steps = golden_steps(context)
        for line in steps.report:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    except ConfigError as error:
        console.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        return 2
    began = time.time()
    with simulated_fleet(run.phones.count, run.phones.size, run.seed) as phones, computing_on(context.mesh):
        results = asyncio.run(train_and_evaluate(context, policy, steps, phones))
    console.print(results_table(results))
    console.print(f"{(time.time() - began) / 60:.1f} minutes. Look at {report(context)}", soft_wrap=True)
    return 0


def report(context: Context) -> Path | str:
    """Writes the report page; a run does not fail because its report does."""
    try:
        return write_report(context.run.directory)
    except ReportError as error:
        return f"{context.run.directory} (no report: {error})"


def prepare_run(run: Run, console: Console) -> tuple[Context, Policy]:
    """Everything that can go wrong before anything expensive starts. Raises ConfigError in one line."""
    if not (run.policy / "config.json").is_file():
        raise ConfigError(f"policy: no Qwen2.5-VL checkpoint (config.json) in {run.policy}; give --policy=DIRECTORY")
    keep_compiled(run.compiled)
    try:
        mesh = make_mesh(run.mesh)
        run = fitted(run, mesh)
        policy = load_policy(
            run.policy,
            jnp.dtype(run.precision.compute),
            param_dtype=jnp.dtype(run.weights),
            remat=run.precision.remat,
            mesh=mesh,
        )
        if run.lora is not None:
            key = jax.random.fold_in(jax.random.key(run.seed), 0)  # the stages fold in their numbers, from 1
            policy = shard_policy(with_adapters(policy, run.lora, key=key), mesh)
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from error
    tokenizer = AutoTokenizer.from_pretrained(run.policy)
    context = Context(run, policy.config, Speaker(tokenizer, run.system, run.resizing), mesh, console)
    check_lengths(context)
    save_run(run)
    size = sum(array.size for array in jax.tree.leaves(policy)) / 1e6
    learn = sum(array.size for array in jax.tree.leaves(nnx.state(policy, nnx.LoRAParam))) / 1e6
    adapters = f", {learn:.1f} M of them in adapters" if run.lora is not None else ""
    devices = f"{len(jax.devices())} {jax.default_backend()} device(s), mesh {mesh_name(*mesh.shape.values())}"
    console.print(f"policy: {run.policy}, {size:.1f} M parameters{adapters}; {devices}")
    return context, policy


def check_lengths(context: Context) -> None:
    """Raises ConfigError where the phones' screens, or the episodes on them, are too large for the run's shapes."""
    run, speaker = context.run, context.speaker
    try:
        check_screen(run, context.config.vision, run.resizing.model_size(*run.phones.size))
    except ValueError as error:
        raise ConfigError(f"phones.size: {error}") from error
    screenshot = Screenshot(Device(run.phones.size).screenshot())
    longest = max(held_out_instructions(), key=lambda text: len(speaker.tokenizer.encode(text)))
    answer = Past(screenshot, (0,) * run.shapes.response_tokens)
    system = system_text(run.system, longest)
    prompt = build_prompt(speaker.tokenizer, system, [answer] * (run.phones.most_turns - 1), screenshot, run.resizing)
    if len(prompt.ids) > max(run.shapes.prompt_tokens):
        raise ConfigError(
            f"shapes.prompt_tokens: turn {run.phones.most_turns} can take {len(prompt.ids)} tokens, the largest bucket "
            f"is {max(run.shapes.prompt_tokens)}; declare a larger one, or lower phones.most_turns or "
            "shapes.response_tokens"
        )


async def train_and_evaluate(
    context: Context, policy: Policy, steps: GoldenSteps, phones: Sequence[Any]
) -> list[Result]:
    """The recipe: three stages, each starting from the last one's weights; `steps` are those of the first two."""
    run = context.run
    records = Records(run.directory / "trajectories")
    async with Fleet(phones) as fleet:
        await evaluate(context, "base", policy, fleet, records)
        policy = await format_finetuning.run(context, policy, steps.format_finetuning)
        await evaluate(context, "format finetuning", policy, fleet, records)
        policy = await action_level.run(context, policy, steps.action_level)
        await evaluate(context, "action-level", policy, fleet, records)
        policy = await task_level.run(context, policy, fleet, StateJudge(), records)
        await evaluate(context, "task-level", policy, fleet, records)
    save_policy(policy, run.directory / "policy", like=run.policy)
    return read_results(run.directory)


async def evaluate(context: Context, stage: str, policy: Policy, fleet: Fleet[Any], records: Records) -> None:
    """Plays held-out tasks, the same for every stage, and writes the result down, unless it is there already."""
    run, phones = context.run, context.run.phones
    if any(result.stage == stage for result in read_results(run.directory)):
        return
    counts = ((run.evaluation.episodes, phones.apps), (run.evaluation.withheld_episodes, phones.withheld_apps))
    tasks = [
        draw_tasks(count, seed=run.seed, apps=apps, held_out=True, popups=phones.popups) if count and apps else []
        for count, apps in counts
    ]
    with bar(context) as progress:
        shown = progress.add_task(f"evaluate {stage}", total=sum(map(len, tasks)), shown="")
        async with context.engine(
            sampling_copy(policy), run.evaluation.temperature, context.screen_cache(policy)
        ) as engine:
            episodes = await run_episodes(
                fleet,
                [*tasks[0], *tasks[1]],
                engine,
                context.speaker,
                most_turns=phones.most_turns,
                seed=run.seed,
                finished=lambda episode: progress.advance(shown),
            )
        result = measure(stage, episodes[: len(tasks[0])], episodes[len(tasks[0]) :])
        progress.update(shown, shown=f"success {result.success}")
    records.write(f"evaluation-{stage.replace(' ', '-')}", 0, episodes)
    write_result(run.directory, result)
    report(context)


def results_table(results: Sequence[Result]) -> Table:
    table = Table(title="Held-out tasks, with 95 % Wilson intervals")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, no_wrap=number == 0)  # in a narrow terminal a share's interval goes below it
    for row in table_rows(results):
        table.add_row(*row)
    return table


if __name__ == "__main__":
    sys.exit(main())
