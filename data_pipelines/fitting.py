"""Filter the steps of a table by the static shapes of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from data_pipelines.steps import StepTable, origin, read_golden, record_system
from mobile_r1_jax.agent.prompts import prefix_tokens, prompt_ids, response_ids
from mobile_r1_jax.agent.responses import empty_start, format_response

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Room:
    """The largest sizes of a step. check_screen: raises ValueError if (width, height) in model pixels is too large."""

    prompt_tokens: int
    response_tokens: int
    check_screen: Callable[[tuple[int, int]], None]


def fitting_steps(table: StepTable, tokenizer: PreTrainedTokenizerBase, room: Room) -> StepTable:
    """Return the table without the steps that have no valid prompt or are too large for `room`.

    A step is left out if its text contains a special token, its screen or prompt is too large, or its response is too
    long. All later steps of its trajectory are left out too. Raises ValueError if no step is left.
    """
    steps: list[tuple[int, int]] = []
    broken, left_out = list(table.broken), table.left_out
    for index, of_record in groupby(table.steps, key=lambda step: step[0]):
        record, turns = table.source[index], [turn for _, turn in of_record]
        end, reason = _first_problem(table, tokenizer, room, record, turns)
        fitting = [turn for turn in turns if turn < end]
        steps += [(index, turn) for turn in fitting]
        if reason:
            left = len(turns) - len(fitting)
            left_out += left
            broken.append(f"{origin(record, end)}: {reason} ({left} steps left out)")
            logger.info(broken[-1])
    if not steps:
        raise ValueError(f"no usable step: all {left_out} were left out; the first: {broken[0]}")
    return replace(table, steps=tuple(steps), broken=tuple(broken), left_out=left_out)


def _first_problem(
    table: StepTable,
    tokenizer: PreTrainedTokenizerBase,
    room: Room,
    record: Mapping[str, Any],
    turns: Sequence[int],
) -> tuple[int, str]:
    """Return the first unusable turn and the reason; the turn after the last one and "" if all are usable."""
    system, shots = record_system(record, table.system), record["trajectory"]["picture"]
    found = table.frames[record["file"].decode()]
    responses, sizes = list[Sequence[int]](), list[tuple[int, int]]()
    for turn in range(turns[-1] + 1):
        golden = read_golden(record, turn, found, table.resizing, table.actions)
        try:
            sizes.append(table.resizing.model_size(*map(int, shots[turn])))
            room.check_screen(sizes[-1])
            text = format_response(golden.response)
            response = response_ids(tokenizer, text)
            if turn in turns:
                told = turn > 0 and table.tell_effects
                effect = record["trajectory"]["effect"][turn - 1].decode() if told else ""
                ids = prompt_ids(tokenizer, system, responses, sizes[-2:], effect)
                unlearned = prefix_tokens(tokenizer, text, empty_start(text))  # they join the prompt in stage 1
                _check_length("prompt", len(ids) + unlearned, room.prompt_tokens)
                _check_length("response", len(response), room.response_tokens)
        except ValueError as error:
            return turn, str(error)
        responses.append(response)
    return turns[-1] + 1, ""


def _check_length(name: str, tokens: int, most: int) -> None:
    if tokens > most:
        raise ValueError(f"a {name} of {tokens} tokens, {name}_tokens leaves room for {most}")
