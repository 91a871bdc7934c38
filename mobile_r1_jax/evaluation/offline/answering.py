"""Answers of a policy to golden steps, written to a file of predictions as they finish.

The history of each step is golden, as in the first two stages, and prompts are made by the code that they use. Data is
streamed: in memory are the steps that are being answered. A killed run resumes with the steps that the file
does not answer yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from data_pipelines.fitting import Room, fitting_steps
from data_pipelines.steps import StepTable, detect_frames, load_step, step_table
from data_pipelines.trajectories import trajectory_record
from mobile_r1_jax.agent.actions import WITH_ANSWER, Malformed
from mobile_r1_jax.agent.coordinates import DetectedFrame, FrameSetting
from mobile_r1_jax.agent.data_files import data_file
from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.agent.frames import Box
from mobile_r1_jax.agent.prompts import Prompt, PromptFormat
from mobile_r1_jax.agent.responses import Response, parse_response
from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.agent.trajectory import Trajectory, read_trajectories
from mobile_r1_jax.evaluation.offline.judging import GoldenStep
from mobile_r1_jax.evaluation.offline.predictions import Key, Prediction, write_prediction
from mobile_r1_jax.sampling.engine import Engine


@dataclass(frozen=True)
class GoldenData:
    """A directory of annotated trajectories, read once.

    frame: of its coordinates. steps: the number of golden steps. apps: of its trajectories. broken: "file:line: reason"
    of broken lines. decoded: hashes of the screenshots whose pixels were decoded.
    """

    directory: Path
    frame: DetectedFrame
    steps: int
    apps: frozenset[str]
    broken: tuple[str, ...]
    decoded: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Question:
    """A golden step to answer, and the prediction that lacks the answer."""

    prompt: Prompt
    prediction: Prediction


def open_golden_data(directory: Path, frame: FrameSetting, annotated: Resizing) -> GoldenData:
    """Read a directory of annotated trajectories once: decode every screenshot, and find the frame of the coordinates.

    frame, annotated: see `step_table`. Raise FileNotFoundError if there is no data.jsonl, OneLineError if no line is
    usable.
    """
    file, decoded = data_file(directory), set[str]()
    broken: list[str] = []
    apps: set[str] = set()
    steps = 0

    def records() -> Iterator[dict[str, Any]]:
        nonlocal steps
        for line, trajectory in read_trajectories(directory, decoded):
            if isinstance(trajectory, Malformed):
                broken.append(f"{file}:{line}: {trajectory.reason}")
                continue
            steps += len(golden_turns(trajectory))
            apps.add(trajectory.app)
            yield trajectory_record(file, line, trajectory)

    found = detect_frames(records(), annotated, frame)
    if not steps:
        first = f"; the first: {broken[0]}" if broken else ""
        raise OneLineError(f"{file}: no golden step, {len(broken)} broken lines{first}")
    return GoldenData(directory, found[str(file)], steps, frozenset(apps), tuple(broken), decoded)


def golden_turns(trajectory: Trajectory) -> list[int]:
    """Return the turns that are golden steps: those that are not marked as mistakes."""
    return [index for index, turn in enumerate(trajectory.turns) if not turn.mistake]


def read_questions(
    data: GoldenData,
    prompt_format: PromptFormat,
    room: Room,
    *,
    answered: Collection[Key] = frozenset(),
    seen_apps: Collection[str] | None = None,
) -> Iterator[Question | str]:
    """Stream the golden steps of the data that are not answered yet; a text names what is left out and why.

    room: see `fitting_steps`. seen_apps: those that the policy was trained on, if they are known.
    """
    file = data_file(data.directory)
    for line, trajectory in read_trajectories(data.directory, data.decoded):
        if isinstance(trajectory, Malformed):
            continue  # it is in data.broken
        name, turns = f"{file.name}:{line}", golden_turns(trajectory)
        wanted = [turn for turn in turns if (name, turn) not in answered]
        if not wanted:
            continue
        try:
            table = _table(file, line, trajectory, data, prompt_format, room)
        except ValueError as error:  # no step of it can be used
            yield f"{file}:{line}: {error}"
            continue
        yield from table.broken
        usable = {turn for _, turn in table.steps}
        for turn in wanted:
            if turn in usable:
                step = load_step(table, prompt_format.tokenizer, 0, turn)
                unanswered = Prediction(
                    trajectory=name,
                    step=turn,
                    golden=golden_step(trajectory, turn, data.frame),
                    frame=step.prompt.frame,
                    predicted=Malformed("not answered"),
                    steps=len(turns),
                    app=trajectory.app,
                    seen=None if seen_apps is None else trajectory.app in seen_apps,
                    subsets=trajectory.subsets,
                )
                yield Question(step.prompt, unanswered)


def golden_step(trajectory: Trajectory, turn: int, found: DetectedFrame) -> GoldenStep:
    """Return a turn whose response parses as a golden step, in the pixels of the annotation."""
    annotated = trajectory.turns[turn]
    frame = found.of(annotated.frame.width, annotated.frame.height)
    response = parse_response(annotated.response.strip(), frame, WITH_ANSWER)
    assert isinstance(response, Response)
    box = None if annotated.bbox is None else Box(*annotated.bbox, frame)
    return GoldenStep(response.action, frame, box, annotated.elements)


async def answer_questions(
    questions: Iterator[Question | str],
    engine: Engine,
    prompt_format: PromptFormat,
    out: Path,
    *,
    made_by: str,
    seed: int,
    on_answered: Callable[[], None] = lambda: None,
) -> list[str]:
    """Answer all questions and append each prediction to `out` when it is finished. Return what was left out.

    As many questions are open as fill the engine twice, so that its rows stay in use. The seed of an answer depends on
    its step alone. Raise OSError that names the file, such as for a full disk.
    """
    left_out: list[str] = []
    reading = asyncio.Lock()

    async def take() -> Question | None:
        async with reading:
            while isinstance(question := await asyncio.to_thread(next, questions, None), str):
                left_out.append(question)
            return question

    async def work() -> None:
        while question := await take():
            asked = question.prediction
            rng = Random(f"{seed}/{asked.trajectory}/{asked.step}")
            completion = await engine.sample(question.prompt, rng.getrandbits(32))
            text = prompt_format.text(completion.ids)
            answer = parse_response(text, asked.frame, prompt_format.actions)
            predicted = answer.action if isinstance(answer, Response) else answer
            write_prediction(out, replace(asked, predicted=predicted, response=text, made_by=made_by))
            on_answered()

    workers = [asyncio.create_task(work()) for _ in range(2 * engine.rows)]
    try:
        await asyncio.gather(*workers)
    finally:  # after an error in one of them, cancel the others
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return left_out


def _table(
    file: Path, line: int, trajectory: Trajectory, data: GoldenData, prompt_format: PromptFormat, room: Room
) -> StepTable:
    """Return the usable steps of one trajectory. Raise ValueError if there is none."""
    table = step_table(
        [trajectory_record(file, line, trajectory)],
        prompt_format.resizing,
        frame=data.frame.kind,
        annotated=data.frame.resizing,
        system=prompt_format.system,
        actions=prompt_format.actions,
        tell_effects=prompt_format.tell_effects,
    )
    return fitting_steps(table, prompt_format.tokenizer, room)
