"""The golden steps that the first two stages train on, checked before anything expensive starts."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_pipelines.fitting import Room, fitting_steps
from data_pipelines.steps import StepTable, step_table
from data_pipelines.trajectories import prepare
from mobile_r1_jax.agent.coordinates import FoundFrame
from mobile_r1_jax.agent.trajectory import write_trajectories
from mobile_r1_jax.config import Annotations, ConfigError, Run
from mobile_r1_jax.model.config import VisionConfig
from mobile_r1_jax.model.packing import Size, blocks_of, smallest_bucket
from mobile_r1_jax.phones.simulator.demonstrations import annotate
from mobile_r1_jax.phones.simulator.tasks import draw_tasks, held_out_instructions
from mobile_r1_jax.run_directory import ANNOTATIONS, left_out_name
from mobile_r1_jax.stages.context import Context, most_tokens


@dataclass(frozen=True)
class GoldenSteps:
    """The steps of the first two stages, and lines that say how they were read and how many were left out."""

    format_finetuning: StepTable
    action_level: StepTable
    report: tuple[str, ...]


def golden_steps(context: Context) -> GoldenSteps:
    """Read, check and count the golden steps of both stages. Raise ConfigError in one line."""
    run, field = context.run, "annotations"
    try:
        first, report = annotated_steps(context, run.annotations, field)
        if run.action_level.annotations is None:
            return GoldenSteps(first, first, report)
        field = "action_level.annotations"
        second, more = annotated_steps(context, run.action_level.annotations, field)
        return GoldenSteps(first, second, (*report, *more))
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"{field}: {error}") from error


def annotated_steps(context: Context, settings: Annotations, field: str) -> tuple[StepTable, tuple[str, ...]]:
    """Return the annotated steps that a stage trains on, without held-out instructions, and lines that report on them.

    field: the settings' name in the config. What was left out is listed in the run directory. Raise ValueError and
    FileNotFoundError in one line.
    """
    run = context.run
    if settings.directory is None:  # written by this run: its pixels are known
        folder, frame, annotated = oracle_annotations(run, settings, ANNOTATIONS[field]), "resized", run.resizing
    else:
        folder, frame, annotated = settings.directory, settings.frame, settings.resizing
    dataset = prepare([folder], data_dir=run.directory / "prepared")
    source = dataset.as_data_source("train")
    table = step_table(source, run.resizing, held_out=held_out_instructions(), frame=frame, annotated=annotated)
    room = Room(
        prompt_tokens=max(run.shapes.prompt_tokens),
        response_tokens=run.shapes.response_tokens,
        check_screen=lambda size: check_screen(run, context.config.vision, size),
    )
    table = fitting_steps(table, context.speaker.tokenizer, room)
    lines = [f"{file}:{line}: {reason}" for file, line, reason in dataset.info.metadata["broken"]]
    used = f"{field}: {len(table.steps)} steps of {len(table.frames)} file(s)"
    if left_out := [*lines, *table.broken]:
        path = run.directory / left_out_name(field)
        write_list(path, left_out)
        used += f"; left out: {len(lines)} lines and {table.left_out} steps, listed in {path}"
    found = [] if settings.directory is None else [_found(file, one, field) for file, one in table.frames.items()]
    return table, (*found, used)


def oracle_annotations(run: Run, settings: Annotations, name: str) -> Path:
    """Return the folder `name` of the run directory; where it is missing, the simulated phone's oracle writes it."""
    folder = run.directory / name
    if not (folder / "data.jsonl").exists():
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
    return folder


def check_screen(run: Run, vision: VisionConfig, size: Size) -> None:
    """Raise ValueError in one line where the run's shapes have no room for a screen of (width, height) model pixels."""
    smallest_bucket(blocks_of(size, vision), run.shapes.windows, f"shapes.windows, for a screen of {size}")
    tokens = size[0] * size[1] // (vision.patch * vision.merge) ** 2
    if tokens > (most := most_tokens(run, vision)):
        raise ValueError(f"a screen of {size} has {tokens} tokens, there is room for {most}; raise shapes.windows")


def write_list(path: Path, lines: Sequence[str]) -> None:
    """Write lines to a file, whole or not at all."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_text("".join(f"{line}\n" for line in lines))
    draft.replace(path)


def _found(file: str, found: FoundFrame, field: str) -> str:
    """What is said of one file's coordinates."""
    asked = f"; this may be wrong: {found.doubt}; set {field}.frame to screenshot or resized" if found.doubt else ""
    return f"{file}: {found.reason}{asked}"
