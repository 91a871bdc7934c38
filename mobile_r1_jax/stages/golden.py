"""The golden steps for the first two stages, read and checked before anything expensive starts."""

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from data_pipelines.fitting import Room, fitting_steps
from data_pipelines.steps import StepTable, step_table
from data_pipelines.trajectories import prepare
from mobile_r1_jax.agent.coordinates import DetectedFrame
from mobile_r1_jax.agent.data_files import DATA, data_file
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
    folders, frame, annotated = settings.directories, settings.frame, settings.resizing
    if not folders:  # written by this run: the frame is known
        folders = (write_demonstrations(session, settings, ANNOTATIONS[field]),)
        frame, annotated = "resized", run.resizing
    dataset = prepare(folders, data_dir=run.directory / "prepared")
    source = dataset.as_data_source("train")
    table = step_table(
        source,
        run.resizing,
        held_out=session.tasks.instructions(Split.UNSEEN_PARAMETERS),
        frame=frame,
        annotated=annotated,
        system=run.system,
        actions=run.actions,
        tell_effects=run.tell_effects,
        weights={str(data_file(folder)): weight for folder, weight in (settings.mixture or {}).items()} or None,
    )
    table = fitting_steps(table, session.prompt_format.tokenizer, room_of(session))
    lines = [f"{file}:{line}: {reason}" for file, line, reason in dataset.info.metadata["broken"]]
    used = f"{field}: {len(table.steps)} steps of {len(table.frames)} file(s)"
    if without := len(table.thoughtless.intersection(table.steps)):
        used += f", {without} of them without a thought, which carries no loss then"
    if left_out := [*lines, *table.broken]:
        path = run.directory / left_out_name(field)
        write_whole(path, "".join(f"{line}\n" for line in left_out))
        used += f"; left out: {len(lines)} lines and {table.left_out} steps, listed in {path}"
    frames = table.frames if settings.directories else {}
    described = [describe_frame(file, detected, field) for file, detected in frames.items()]
    return table, (*described, *describe_shares(table), used)


def room_of(session: Session) -> Room:
    """Return the largest sizes of a step that the run's shapes hold."""
    run = session.run
    return Room(
        prompt_tokens=max(run.shapes.prompt_tokens),
        response_tokens=run.shapes.response_tokens,
        check_screen=lambda size: check_screen(run, session.config.vision, size),
    )


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


def describe_shares(table: StepTable) -> list[str]:
    """Return a line on each file of a mixture. Raise ValueError if one of them has no usable step."""
    weights, steps = table.weights or {}, Counter[str]()
    for record, count in Counter(record for record, _ in table.steps).items() if weights else ():
        steps[table.source[record]["file"].decode()] += count
    if empty := [file for file in weights if not steps[file]]:
        raise ValueError(f"no usable step in {empty[0]}, which has a weight in the mixture; mend it or take it out")
    return [
        f"{file}: {steps[file]} steps, {weight / sum(weights.values()):.0%} of those drawn"
        for file, weight in weights.items()
    ]


def describe_frame(file: str, detected: DetectedFrame, field: str) -> str:
    """Return the line of the report on the frame of one file's coordinates."""
    doubt = f"; this may be wrong: {detected.doubt}; set {field}.frame to screenshot or resized" * bool(detected.doubt)
    return f"{file}: {detected.reason}{doubt}"
