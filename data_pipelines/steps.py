"""A Grain pipeline of single steps with golden history, the data of the first two stages.

    table = step_table(dataset.as_data_source("train"), resizing, held_out=test_instructions)
    table = fitting_steps(table, tokenizer, room)  # data_pipelines/fitting.py
    steps = iter(stream_steps(table, tokenizer, seed=0))
    step = next(steps);  position = steps.get_state()  # a dict, for the checkpoint;  steps.set_state(position)

The table holds the steps as (record, turn), without screenshots. The pipeline reads screenshots when it loads a step
and keeps them encoded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import grain

from mobile_r1_jax.agent.actions import ACTIONS, Action, ActionRow, Malformed, to_frame
from mobile_r1_jax.agent.coordinates import CoordinateGroup, DetectedFrame, FrameSetting, detect_frame, response_points
from mobile_r1_jax.agent.frames import Box, Frame
from mobile_r1_jax.agent.prompts import (
    SYSTEM_TEMPLATE,
    PastTurn,
    Prompt,
    build_prompt,
    prefix_tokens,
    response_ids,
    task_system,
)
from mobile_r1_jax.agent.responses import Response, empty_start, format_response, parse_response
from mobile_r1_jax.agent.screenshots import PUBLISHED_RESIZING, Resizing, Screenshot

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Step:
    """One golden step. Coordinates are model pixels of the prompt's last screenshot.

    response: the golden response as text. response_ids: its token ids with the stop token. action: its action. box: of
    the element to act on, if the data has one. origin: file, line and step, for debugging. unlearned: the number of
    response_ids at the start that are an empty thought or action sentence; they carry no loss.
    """

    prompt: Prompt
    response: str
    response_ids: tuple[int, ...]
    action: Action
    box: Box | None
    task: str
    app: str
    origin: str
    unlearned: int = 0


@dataclass(frozen=True, eq=False)
class StepTable:
    """The usable steps of a source.

    resizing: of the run. steps: (record, turn) pairs. frames: the coordinate frame of each file. broken: origin and
    reason of the first broken step of a trajectory. left_out: the number of steps left out for these reasons.
    thoughtless: the steps whose thought is empty. system: template of the system message of records without their own.
    actions: the action space. weights: file -> its relative share of the drawn steps; None: all steps count
    equally. tell_effects: whether a prompt states the effect of the last turn, if the data has it.
    """

    source: Sequence[Mapping[str, Any]]
    resizing: Resizing
    steps: tuple[tuple[int, int], ...]
    frames: Mapping[str, DetectedFrame]
    broken: tuple[str, ...]
    left_out: int
    thoughtless: frozenset[tuple[int, int]] = frozenset()
    system: str = SYSTEM_TEMPLATE
    actions: Mapping[str, ActionRow] = field(default_factory=lambda: ACTIONS)
    weights: Mapping[str, float] | None = None
    tell_effects: bool = True


def step_table(
    source: Sequence[Mapping[str, Any]],
    resizing: Resizing,
    *,
    held_out: Collection[str] = frozenset(),
    frame: FrameSetting = "auto",
    annotated: Resizing = PUBLISHED_RESIZING,
    system: str = SYSTEM_TEMPLATE,
    actions: Mapping[str, ActionRow] = ACTIONS,
    weights: Mapping[str, float] | None = None,
    tell_effects: bool = True,
) -> StepTable:
    """Read a PhoneTrajectories source once and return its usable steps.

    `resizing` makes the images for the policy. `frame` and `annotated`, the resizing of the annotation, determine the
    coordinate frame of the data (see `detect_frame`); with "auto", a file whose records all declare their frame is not
    examined. `system` and all after it: see StepTable.

    Left out are: trajectories whose instruction is exactly in `held_out` [kin]; a step with a broken response or box,
    and all later steps of its trajectory, because it would be in their history; a step marked as a mistake, which stays
    in the history of later steps. Broken steps are logged, counted and listed as "file:line: step i: reason". Raises
    ValueError if no step is left.
    """
    held_out = frozenset(held_out)
    found = detect_frames(source, annotated, frame)
    steps: list[tuple[int, int]] = []
    thoughtless: set[tuple[int, int]] = set()
    broken: list[str] = []
    left_out = 0
    for index, record in enumerate(source):
        if record["instruction"].decode() in held_out:
            continue
        turns = record["trajectory"]
        for turn in range(len(turns["response"])):
            golden = read_golden(record, turn, found[record["file"].decode()], resizing, actions)
            if isinstance(golden, Malformed):
                left = len(turns["response"]) - turn
                left_out += left
                broken.append(f"{origin(record, turn)}: {golden.reason} ({left} steps left out)")
                logger.info(broken[-1])
                break
            if not turns["mistake"][turn]:
                steps.append((index, turn))
                if not golden.response.thought.strip():
                    thoughtless.add((index, turn))
    if not steps:
        first = f"; the first: {broken[0]}" if broken else ""
        raise ValueError(
            f"no usable step in {len(source)} trajectories: {len(broken)} broken, the rest held out{first}"
        )
    used = tuple(steps), found, tuple(broken), left_out, frozenset(thoughtless)
    return StepTable(source, resizing, *used, system, actions, weights, tell_effects)


def stream_steps(
    table: StepTable,
    tokenizer: PreTrainedTokenizerBase,
    *,
    seed: int,
    epochs: int | None = None,
    threads: int = 2,
    ahead: int = 16,
    wanted: Callable[[int], bool] = lambda position: True,
) -> grain.IterDataset[Step | int]:
    """Return steps in a random order by `seed`, a new one each epoch. `epochs` None means no end.

    With weights, the steps of each file have a separate random order, and a small file is repeated more often.
    Worker threads load the steps, at most `ahead` in advance. Its iterator has get_state and set_state; the state is a
    small dict. wanted: whether to read the step at a position in the order, from 0. The position replaces an unread
    step (Grain would drop None).
    """
    if table.weights is None:
        steps = grain.MapDataset.source(table.steps).shuffle(seed=seed).repeat(epochs)
    else:
        parts: dict[str, list[tuple[int, int]]] = {}
        for index, of_record in groupby(table.steps, key=lambda step: step[0]):
            parts.setdefault(table.source[index]["file"].decode(), []).extend(of_record)
        shuffled = [grain.MapDataset.source(part).shuffle(seed=seed).repeat(epochs) for part in parts.values()]
        steps = grain.MapDataset.mix(shuffled, weights=[table.weights[file] for file in parts])
    steps = steps.map_with_index(
        lambda position, step: load_step(table, tokenizer, *step) if wanted(position) else position
    )
    return steps.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead))


def load_step(table: StepTable, tokenizer: PreTrainedTokenizerBase, record_index: int, turn: int) -> Step:
    """Read one step of the table and build its prompt."""
    record = table.source[record_index]
    found = table.frames[record["file"].decode()]
    goldens = [read_golden(record, index, found, table.resizing, table.actions) for index in range(turn + 1)]
    texts = [format_response(golden.response) for golden in goldens]
    shots = [Screenshot(png) for png in record["trajectory"]["image"][: turn + 1]]
    effects = [effect.decode() for effect in record["trajectory"]["effect"][:turn]]
    past = [
        PastTurn(shot, response_ids(tokenizer, text), effect)
        for shot, text, effect in zip(shots[:-1], texts[:-1], effects, strict=True)
    ]
    system = record_system(record, table.system)
    return Step(
        prompt=build_prompt(tokenizer, system, past, shots[-1], table.resizing, tell_effects=table.tell_effects),
        response=texts[-1],
        response_ids=response_ids(tokenizer, texts[-1]),
        action=goldens[-1].response.action,
        box=goldens[-1].box,
        task=record["instruction"].decode(),
        app=record["app_name"].decode(),
        origin=origin(record, turn),
        unlearned=prefix_tokens(tokenizer, texts[-1], empty_start(texts[-1])),
    )


def record_system(record: Mapping[str, Any], template: str) -> str:
    """Return the system message of a record's prompts; `template`: for a record without its own."""
    return task_system(record["system"].decode(), record["instruction"].decode(), template)


def origin(record: Mapping[str, Any], turn: int) -> str:
    """Return the origin of a step, as "file:line: step i"."""
    return f"{record['file'].decode()}:{record['line']}: step {turn}"


@dataclass(frozen=True)
class Golden:
    """A step's response and the box of the element to act on, in model pixels."""

    response: Response
    box: Box | None


def read_golden(
    record: Mapping[str, Any],
    turn: int,
    found: DetectedFrame,
    resizing: Resizing,
    actions: Mapping[str, ActionRow] = ACTIONS,
) -> Golden | Malformed:
    """Return a step's response and box in the model pixels of `resizing`, or why they are broken."""
    turns = record["trajectory"]
    try:
        written = found.of(*map(int, turns["size"][turn]))
        model = Frame("model", *resizing.model_size(*map(int, turns["picture"][turn])))
    except ValueError as error:  # a size that cannot be resized
        return Malformed(str(error))
    response = parse_response(turns["response"][turn].decode().strip(), written, actions)
    if isinstance(response, Malformed):
        return response
    x1, y1, x2, y2 = (int(side) for side in turns["bbox"][turn])
    if x1 >= 0 and not (written.holds(x1, y1) and written.holds(x2, y2)):
        return Malformed(f"bbox is outside the {written.width}x{written.height} {written.kind} image")
    box = Box(x1, y1, x2, y2, written).to(model) if x1 >= 0 else None
    return Golden(Response(response.thought, response.sentence, to_frame(response.action, model)), box)


def detect_frames(
    source: Iterable[Mapping[str, Any]], annotated: Resizing, frame: FrameSetting
) -> dict[str, DetectedFrame]:
    """Return the frame of each file: `frame`, or the one that all its records declare, or the detected one."""
    seen: dict[str, list[CoordinateGroup]] = {}
    declared: dict[str, set[FrameSetting]] = {}
    for record in source:
        turns, file = record["trajectory"], record["file"].decode()
        declared.setdefault(file, set()).add(record["coordinates"].decode())
        groups = seen.setdefault(file, [])
        for response, size, picture in zip(turns["response"], turns["size"], turns["picture"], strict=True):
            points = response_points(response.decode().strip())
            if not isinstance(points, Malformed):
                width, height = map(int, size)
                groups.append(CoordinateGroup(tuple(points), width, height, scaled=(size != picture).any()))
    found = {}
    for file, groups in seen.items():
        says = next(iter(declared[file])) if len(declared[file]) == 1 else "auto"
        setting, why = (says, "as the file says") if frame == "auto" else (frame, "as set")
        found[file] = detect_frame(groups, annotated, setting, why)
    return found
