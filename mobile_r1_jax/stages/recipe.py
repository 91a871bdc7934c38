"""The recipe: three stages, each from the last one's weights, with an evaluation on held-out tasks before and after."""

import shutil
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from data_pipelines.annotate import annotate
from data_pipelines.steps import StepTable, check_step_lengths, step_table
from data_pipelines.trajectories import prepare
from mobile_r1_jax.agent.trajectory import write_trajectories
from mobile_r1_jax.config import Annotations, ConfigError, Run
from mobile_r1_jax.model.huggingface import save_policy
from mobile_r1_jax.model.identity import policy_files_hash, weights_hash
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.sharding import computing_on, sampling_copy
from mobile_r1_jax.phones.fleet import Fleet
from mobile_r1_jax.phones.simulated import simulated_fleet
from mobile_r1_jax.phones.simulator.tasks import draw_tasks, held_out_instructions
from mobile_r1_jax.report import ReportError, write_report
from mobile_r1_jax.rewards.state_judge import StateJudge
from mobile_r1_jax.run_directory import ANNOTATIONS, POLICY, STAGES, TRAJECTORIES, begin, check, evaluation_name, locked
from mobile_r1_jax.runtime.interrupts import Interrupts
from mobile_r1_jax.session import open_session
from mobile_r1_jax.stages import action_level, format_finetuning, task_level
from mobile_r1_jax.stages.context import Context
from mobile_r1_jax.stages.episodes import run_episodes
from mobile_r1_jax.stages.evaluation import Result, find_result, measure, measured_on, results_table, write_result
from mobile_r1_jax.stages.loop import bar
from mobile_r1_jax.stages.records import Records
from mobile_r1_jax.training.host_memory import keep_freed_memory


def run_recipe(run: Run, console: Console, interrupts: Interrupts, *, force: bool) -> None:
    """Check everything that can be known, then train and evaluate, and print the table.

    Args:
      force: discard what the run's directory holds where that does not fit the run.

    Raises ConfigError in one line before anything expensive starts, OSError, and Interrupted.
    """
    keep_freed_memory()
    began = time.time()
    with locked(run.directory) if jax.process_index() == 0 else nullcontext():
        policy_hash = policy_files_hash(run.policy)
        if not force:
            check(run, policy_hash)
        context, policy = open_session(run, console)
        begin(run, policy_hash, say=partial(console.print, highlight=False, soft_wrap=True))
        steps = golden_steps(context)
        with simulated_fleet(run.phones.count, run.phones.size, run.seed) as phones, computing_on(context.mesh):
            results = interrupts.run(train_and_evaluate(context, policy, steps, phones))
        console.print(results_table(results))
        console.print(f"{(time.time() - began) / 60:.1f} minutes. Look at {report(context)}", soft_wrap=True)


def golden_steps(context: Context) -> tuple[StepTable, StepTable]:
    """The golden steps of format finetuning and of the action-level stage. Raises ConfigError in one line."""
    run, field = context.run, "annotations"
    try:
        first = annotated_steps(context, run.annotations, "annotations")
        if run.action_level.annotations is None:
            return first, first
        field = "action_level.annotations"
        return first, annotated_steps(context, run.action_level.annotations, ANNOTATIONS[field])
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"{field}: {error}") from error


def annotated_steps(context: Context, settings: Annotations, name: str) -> StepTable:
    """The annotated steps that a stage trains on; held-out instructions are not among them. What the oracle writes is
    kept under `name` in the run directory. Raises ValueError and FileNotFoundError in one line."""
    run = context.run
    folder = settings.directory or run.directory / name
    if settings.directory is None and not (folder / "data.jsonl").exists():
        tasks = draw_tasks(settings.count, seed=run.seed, apps=run.phones.apps, held_out=False, popups=settings.popups)
        drawn = annotate(
            tasks,
            system=run.system,
            size=run.phones.size,
            resizing=run.resizing,
            mistakes=settings.mistakes,
            seed=run.seed,
        )
        draft = folder.with_name(f"draft-of-{name}")  # whole or not at all, though the run be killed
        shutil.rmtree(draft, ignore_errors=True)
        write_trajectories(draft, drawn)
        draft.rename(folder)
    dataset = prepare([folder], data_dir=run.directory / "prepared")
    table = step_table(dataset.as_data_source("train"), run.resizing, held_out=held_out_instructions())
    room = {"prompt_tokens": max(run.shapes.prompt_tokens), "response_tokens": run.shapes.response_tokens}
    check_step_lengths(table, context.speaker.tokenizer, **room)
    return table


async def train_and_evaluate(
    context: Context, policy: Policy, steps: tuple[StepTable, StepTable], phones: Sequence[Any]
) -> list[Result]:
    """Run the three stages, the first two on `steps`, and the evaluations around them; return their results.

    What is done already is not done again: a stage goes on from its last checkpoint, and a result is reused where the
    same weights met the same tasks under the same settings.
    """
    run, results = context.run, []
    records = Records(run.directory / TRAJECTORIES)
    async with Fleet(phones) as fleet:
        results.append(await evaluate(context, "base", policy, fleet, records))
        policy = await format_finetuning.run(context, policy, steps[0])
        results.append(await evaluate(context, STAGES["format_finetuning"], policy, fleet, records))
        policy = await action_level.run(context, policy, steps[1])
        results.append(await evaluate(context, STAGES["action_level"], policy, fleet, records))
        policy = await task_level.run(context, policy, fleet, StateJudge(), records)
        results.append(await evaluate(context, STAGES["task_level"], policy, fleet, records))
    save_policy(policy, run.directory / POLICY, like=run.policy, base=run.policy_base)
    return results


async def evaluate(context: Context, stage: str, policy: Policy, fleet: Fleet[Any], records: Records) -> Result:
    """Play held-out tasks, the same for every stage, and write the result down, unless it is there already."""
    run, phones = context.run, context.run.phones
    counts = ((run.evaluation.episodes, phones.apps), (run.evaluation.withheld_episodes, phones.withheld_apps))
    tasks = [
        draw_tasks(count, seed=run.seed, apps=apps, held_out=True, popups=phones.popups) if count and apps else []
        for count, apps in counts
    ]
    provenance = measured_on(run, tasks, weights=weights_hash(policy))
    if known := find_result(run.directory, stage, provenance):
        return known
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
        result = measure(stage, episodes[: len(tasks[0])], episodes[len(tasks[0]) :], provenance)
        progress.update(shown, shown=f"success {result.success}")
    records.write(evaluation_name(stage), 0, episodes)
    write_result(run.directory, result)
    report(context)
    return result


def report(context: Context) -> Path | str:
    """Write the report page; a run does not fail because its report does."""
    try:
        return write_report(context.run.directory)
    except ReportError as error:
        return f"{context.run.directory} (no report: {error})"
