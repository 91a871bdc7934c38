"""A Grain pipeline of single steps with golden history: what the first two stages train on.

    table = step_table(dataset.as_data_source("train"), resizing, held_out=test_instructions)
    steps = iter(stream_steps(table, tokenizer, seed=0))
    step = next(steps);  position = steps.get_state()  # a dict, for the checkpoint;  steps.set_state(position)

The table holds which steps there are (record, turn), never their screenshots: those are read record by record as steps
come up, and stay encoded.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grain

from mobile_r1_jax.agent.actions import Action, Malformed, to_frame
from mobile_r1_jax.agent.coordinates import FoundFrame, Seen, coordinate_frame, response_points
from mobile_r1_jax.agent.frames import Box
from mobile_r1_jax.agent.prompts import Past, Prompt, build_prompt, response_ids, task_system
from mobile_r1_jax.agent.responses import Response, format_response, parse_response
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Step:
    """One golden step. Coordinates are model pixels of the prompt's last screenshot.

    response: the golden response as text; response_ids: its token ids, stop token included; action: what it does; box:
    the element to act on, where the data has one; origin: file, line and step, for whoever looks into it.
    """

    prompt: Prompt
    response: str
    response_ids: tuple[int, ...]
    action: Action
    box: Box | None
    task: str
    app: str
    origin: str


@dataclass(frozen=True, eq=False)
class StepTable:
    """The usable steps of a source: (record, turn) pairs, the frame of each file, and what was left out and why."""

    source: Sequence[Mapping[str, Any]]
    resizing: Resizing
    steps: tuple[tuple[int, int], ...]
    frames: Mapping[str, FoundFrame]
    broken: tuple[str, ...]


def step_table(
    source: Sequence[Mapping[str, Any]], resizing: Resizing, *, held_out: Collection[str] = frozenset()
) -> StepTable:
    """Reads a PhoneTrajectories source through once and lists its usable steps.

    Left out: trajectories whose instruction is, to the letter, in `held_out` (kin); a step whose response or box is
    broken, with all that come after it in its trajectory, whose history it would be; a step marked as a mistake, which
    stays in the history of those that undo it. Broken ones are logged, counted
    and listed as "file:line: step i: reason". Raises ValueError when no step is left.
    """
    held_out = frozenset(held_out)
    found = {file: coordinate_frame(seen, resizing) for file, seen in _seen_by_file(source).items()}
    for file, frame in found.items():
        logger.info("%s: %s", file, frame.reason)
    steps: list[tuple[int, int]] = []
    broken: list[str] = []
    for index, record in enumerate(source):
        if record["instruction"].decode() in held_out:
            continue
        turns = record["trajectory"]
        for turn in range(len(turns["response"])):
            golden = _golden(record, turn, found[record["file"].decode()], resizing)
            if isinstance(golden, Malformed):
                left = len(turns["response"]) - turn
                broken.append(f"{_origin(record, turn)}: {golden.reason} ({left} steps left out)")
                logger.warning(broken[-1])
                break
            if not turns["mistake"][turn]:
                steps.append((index, turn))
    if not steps:
        first = f"; the first: {broken[0]}" if broken else ""
        raise ValueError(
            f"no usable step in {len(source)} trajectories: {len(broken)} broken, the rest held out{first}"
        )
    return StepTable(source, resizing, tuple(steps), found, tuple(broken))


def stream_steps(
    table: StepTable,
    tokenizer: PreTrainedTokenizerBase,
    *,
    seed: int,
    epochs: int | None = None,
    threads: int = 2,
    ahead: int = 16,
) -> grain.IterDataset[Step]:
    """Steps in an order that `seed` decides, another one each epoch, for ever or for `epochs`; read by worker threads.

    `iter()` of it has get_state and set_state: the position as a small dict. `ahead` steps at most are held in memory.
    """
    steps = grain.MapDataset.source(table.steps).shuffle(seed=seed).repeat(epochs)
    steps = steps.map(lambda step: load_step(table, tokenizer, *step))
    return steps.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead))


def check_step_lengths(
    table: StepTable, tokenizer: PreTrainedTokenizerBase, *, prompt_tokens: int, response_tokens: int
) -> None:
    """Raises ValueError in one line, with file, line and step, where a prompt or a response is too long."""
    for record_index, turn in dict(table.steps).items():  # the last step of each trajectory: all others lead up to it
        step, past = _load(table, tokenizer, record_index, turn)
        responses = [*(before.response_ids for before in past), step.response_ids]
        for name, tokens, most in (
            ("prompt", len(step.prompt.ids), prompt_tokens),
            ("response", max(map(len, responses)), response_tokens),
        ):
            if tokens > most:
                raise ValueError(
                    f"{step.origin}: a {name} of {tokens} tokens, {name}_tokens leaves room for {most}; raise it, or "
                    "leave this trajectory out"
                )


def load_step(table: StepTable, tokenizer: PreTrainedTokenizerBase, record_index: int, turn: int) -> Step:
    """Reads one step of the table and builds its prompt."""
    return _load(table, tokenizer, record_index, turn)[0]


def _load(
    table: StepTable, tokenizer: PreTrainedTokenizerBase, record_index: int, turn: int
) -> tuple[Step, Sequence[Past]]:
    """A step and what went before it."""
    record = table.source[record_index]
    found = table.frames[record["file"].decode()]
    goldens = [_golden(record, index, found, table.resizing) for index in range(turn + 1)]
    texts = [format_response(golden.response) for golden in goldens]
    shots = [Screenshot(png) for png in record["trajectory"]["image"][: turn + 1]]
    past = [Past(shot, response_ids(tokenizer, text)) for shot, text in zip(shots[:-1], texts[:-1], strict=True)]
    system = task_system(record["system"].decode(), record["instruction"].decode())
    step = Step(
        prompt=build_prompt(tokenizer, system, past, shots[-1], table.resizing),
        response=texts[-1],
        response_ids=response_ids(tokenizer, texts[-1]),
        action=goldens[-1].response.action,
        box=goldens[-1].box,
        task=record["instruction"].decode(),
        app=record["app_name"].decode(),
        origin=_origin(record, turn),
    )
    return step, past


@dataclass(frozen=True)
class _Golden:
    response: Response
    box: Box | None


def _golden(record: Mapping[str, Any], turn: int, found: FoundFrame, resizing: Resizing) -> _Golden | Malformed:
    """A step's response and box, brought into model pixels."""
    turns = record["trajectory"]
    shot = Screenshot(turns["image"][turn])
    written, model = found.of(shot.width, shot.height, resizing), resizing.model_frame(shot)
    response = parse_response(turns["response"][turn].decode().strip(), written)
    if isinstance(response, Malformed):
        return response
    x1, y1, x2, y2 = (int(side) for side in turns["bbox"][turn])
    if x1 >= 0 and not (written.holds(x1, y1) and written.holds(x2, y2)):
        return Malformed(f"bbox lies off the {written.width}x{written.height} {written.kind} image")
    box = Box(x1, y1, x2, y2, written).to(model) if x1 >= 0 else None
    return _Golden(Response(response.thought, response.sentence, to_frame(response.action, model)), box)


def _seen_by_file(source: Sequence[Mapping[str, Any]]) -> dict[str, list[Seen]]:
    seen: dict[str, list[Seen]] = {}
    for record in source:
        turns = record["trajectory"]
        group = seen.setdefault(record["file"].decode(), [])
        for png, response in zip(turns["image"], turns["response"], strict=True):
            points = response_points(response.decode().strip())
            if not isinstance(points, Malformed):
                shot = Screenshot(png)
                group.append(Seen(tuple(points), shot.width, shot.height))
    return seen


def _origin(record: Mapping[str, Any], turn: int) -> str:
    return f"{record['file'].decode()}:{record['line']}: step {turn}"
