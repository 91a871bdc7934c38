"""The golden steps for the first two stages, read and checked before anything expensive starts."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from data_pipelines.fitting import Room, fitting_steps
from data_pipelines.steps import StepTable, step_table
from data_pipelines.trajectories import prepare
from mobile_r1_jax.agent.coordinates import DetectedFrame
from mobile_r1_jax.agent.data_files import DATA
from mobile_r1_jax.agent.trajectory import write_trajectories
from mobile_r1_jax.agent.whole_files import write_whole
from mobile_r1_jax.config import Annotations, ConfigError
from mobile_r1_jax.run_directory import ANNOTATIONS, left_out_name
from mobile_r1_jax.session import Session, check_screen
from mobile_r1_jax.tasks.suite import DemonstrationStyle, Split


@dataclass(frozen=True)
class GoldenSteps:
    """The steps of the first two stages, and the lines of a report on how they were read."""

    format_finetuning: StepTable
    action_level: StepTable
    report: tuple[str, ...]


def golden_steps(session: Session) -> GoldenSteps:
    """Read, check and count the golden steps of both stages. Raise ConfigError in one line."""
    run, field = session.run, "annotations"
    try:
        first, report = annotated_steps(session, run.annotations, field)
        if run.action_level.annotations is None:
            return GoldenSteps(first, first, report)
        field = "action_level.annotations"
        second, more = annotated_steps(session, run.action_level.annotations, field)
        return GoldenSteps(first, second, (*report, *more))
    except NotImplementedError as error:
        raise ConfigError(f"{field}.directory: {error}; name a directory of annotated trajectories") from error
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"{field}: {error}") from error


def annotated_steps(session: Session, settings: Annotations, field: str) -> tuple[StepTable, tuple[str, ...]]:
    """Return the annotated steps of a stage, without held-out instructions, and the lines of a report on them.

    field: the name of the settings in the config. Steps that are left out are listed in the run directory. Raise
    ValueError and FileNotFoundError in one line.
    """
    run = session.run
    if settings.directory is None:  # written by this run: the frame is known
        folder, frame, annotated = write_demonstrations(session, settings, ANNOTATIONS[field]), "resized", run.resizing
    else:
        folder, frame, annotated = settings.directory, settings.frame, settings.resizing
    dataset = prepare([folder], data_dir=run.directory / "prepared")
    source = dataset.as_data_source("train")
    table = step_table(
        source,
        run.resizing,
        held_out=session.tasks.instructions(Split.UNSEEN_PARAMETERS),
        frame=frame,
        annotated=annotated,
    )
    room = Room(
        prompt_tokens=max(run.shapes.prompt_tokens),
        response_tokens=run.shapes.response_tokens,
        check_screen=lambda size: check_screen(run, session.config.vision, size),
    )
    table = fitting_steps(table, session.prompt_format.tokenizer, room)
    lines = [f"{file}:{line}: {reason}" for file, line, reason in dataset.info.metadata["broken"]]
    used = f"{field}: {len(table.steps)} steps of {len(table.frames)} file(s)"
    if left_out := [*lines, *table.broken]:
        path = run.directory / left_out_name(field)
        write_whole(path, "".join(f"{line}\n" for line in left_out))
        used += f"; left out: {len(lines)} lines and {table.left_out} steps, listed in {path}"
    frames = {} if settings.directory is None else table.frames
    return table, (*(describe_frame(file, detected, field) for file, detected in frames.items()), used)


def write_demonstrations(session: Session, settings: Annotations, name: str) -> Path:
    """Return the folder `name` of the run directory; if it is missing, the task suite's expert writes it."""
    run, folder = session.run, session.run.directory / name
    if not (folder / DATA).exists():
        style = DemonstrationStyle(run.system, run.resizing, settings.mistakes, settings.popups)
        draft = folder.with_name(f"draft-of-{name}")  # atomic: a killed run leaves only the draft
        shutil.rmtree(draft, ignore_errors=True)
        write_trajectories(draft, session.tasks.demonstrations(settings.count, run.seed, style))
        draft.rename(folder)
    return folder


def describe_frame(file: str, detected: DetectedFrame, field: str) -> str:
    """Return the line of the report on the frame of one file's coordinates."""
    doubt = f"; this may be wrong: {detected.doubt}; set {field}.frame to screenshot or resized" * bool(detected.doubt)
    return f"{file}: {detected.reason}{doubt}"
