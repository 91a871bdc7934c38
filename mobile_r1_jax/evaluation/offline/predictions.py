"""Predictions: answers to golden steps, one JSON object per line, which the rule sets score without the policy.

    trajectory · step            which golden step: the file and line of its trajectory, and its number from 0
    steps                        the number of golden steps of the trajectory, to know whether all are there
    app · seen · subsets         for the groups of the table; seen: whether the policy was trained on the app
    size [width, height]         of the image that golden, bbox and elements are pixels of
    golden                       the golden action, as the arguments of mobile_use
    bbox · elements              the box of the element to act on; all elements of the screen {bbox, text}
    response                     the text of the answer
    response_size [w, h]         of the image that the coordinates of the answer are pixels of; if missing, `size`
    predicted                    the action of the answer, as the arguments of mobile_use, or
    malformed                    why it has none
    made_by                      a hash of the policy, the data and the settings; predictions of several do not mix

Required are trajectory, step, size, golden and one of predicted, malformed and response. A response alone must have the
tags that `agent/responses.py` reads. docs/howto/offline-benchmark.md shows how the answers of other models are written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobile_r1_jax.agent.actions import WITH_ANSWER, Action, Malformed, action_arguments, parse_action
from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.agent.frames import Box, Frame
from mobile_r1_jax.agent.json_fields import BrokenError, check_type, get_field
from mobile_r1_jax.agent.json_lines import append_line, stream_objects
from mobile_r1_jax.agent.responses import parse_response
from mobile_r1_jax.agent.trajectory import element_to_json, read_bbox, read_element
from mobile_r1_jax.evaluation.offline.judging import GoldenStep

PREDICTIONS = "predictions.jsonl"
Key = tuple[str, int]  # trajectory, step


@dataclass(frozen=True)
class Prediction:
    """An answer to a golden step; the fields are those of the file. frame: of the answer's coordinates."""

    trajectory: str
    step: int
    golden: GoldenStep
    frame: Frame
    predicted: Action | Malformed
    response: str = ""
    steps: int | None = None
    app: str = ""
    seen: bool | None = None
    subsets: tuple[str, ...] = ()
    made_by: str = ""

    @property
    def key(self) -> Key:
        """Return which golden step it answers."""
        return self.trajectory, self.step


def write_prediction(path: Path, prediction: Prediction) -> None:
    """Append a prediction to a file in one write. Raise OSError that names the file."""
    append_line(path, json.dumps(prediction_to_json(prediction), ensure_ascii=False, allow_nan=False))


def prediction_to_json(prediction: Prediction) -> dict[str, Any]:
    """Return the object of a line."""
    golden, answer = prediction.golden, prediction.predicted
    row: dict[str, Any] = {"trajectory": prediction.trajectory, "step": prediction.step}
    if prediction.steps is not None:
        row["steps"] = prediction.steps
    row["app"] = prediction.app
    if prediction.seen is not None:
        row["seen"] = prediction.seen
    if prediction.subsets:
        row["subsets"] = list(prediction.subsets)
    row |= {"size": [golden.frame.width, golden.frame.height], "golden": action_arguments(golden.action)}
    if golden.box is not None:
        row["bbox"] = [golden.box.x1, golden.box.y1, golden.box.x2, golden.box.y2]
    if golden.elements:
        row["elements"] = [element_to_json(element) for element in golden.elements]
    row |= {"response": prediction.response, "response_size": [prediction.frame.width, prediction.frame.height]}
    if isinstance(answer, Malformed):
        row["malformed"] = answer.reason
    else:
        row["predicted"] = action_arguments(answer)
    return row | ({"made_by": prediction.made_by} if prediction.made_by else {})


def prediction_from_json(row: Mapping[str, Any]) -> Prediction | Malformed:
    """Read the object of a line. Return Malformed for a field that is missing or wrong; other fields are ignored.

    A wrong answer is not an error of the file: its prediction is Malformed.
    """
    try:
        frame = _frame(row, "size", "screenshot")
        golden = parse_action(get_field(row, "golden", dict), frame, WITH_ANSWER)
        if isinstance(golden, Malformed):
            raise BrokenError(f"golden: {golden.reason}")
        box = Box(*read_bbox(row["bbox"]), frame) if row.get("bbox") is not None else None
        elements = tuple(read_element(element) for element in get_field(row, "elements", list, []))
        answered = _frame(row, "response_size" if "response_size" in row else "size", "model")
        trajectory, steps, seen = row.get("trajectory"), row.get("steps"), row.get("seen")
        if type(trajectory) not in (str, int):
            raise BrokenError("trajectory must name the golden trajectory")
        return Prediction(
            trajectory=str(trajectory),
            step=get_field(row, "step", int),
            golden=GoldenStep(golden, frame, box, elements),
            frame=answered,
            predicted=_answer(row, answered),
            response=get_field(row, "response", str, ""),
            steps=None if steps is None else check_type(steps, int, "steps"),
            app=get_field(row, "app", str, ""),
            seen=None if seen is None else check_type(seen, bool, "seen"),
            subsets=tuple(check_type(name, str, "subsets") for name in get_field(row, "subsets", list, [])),
            made_by=get_field(row, "made_by", str, ""),
        )
    except BrokenError as error:
        return Malformed(str(error))


def read_predictions(path: Path) -> Iterator[tuple[int, Prediction | Malformed]]:
    """Stream the predictions of a file with their line numbers. A line that is broken, or whose golden step an earlier
    line answers, is Malformed. Raise OneLineError if the file cannot be read."""
    answered: dict[Key, int] = {}
    try:
        for number, row in stream_objects(path):
            read = row if isinstance(row, Malformed) else prediction_from_json(row)
            earlier = number if isinstance(read, Malformed) else answered.setdefault(read.key, number)
            if earlier != number:
                read = Malformed(f"answers the same step as line {earlier}")
            yield number, read
    except OSError as error:
        raise OneLineError(f"{path}: {error.strerror}; name a file of predictions, one JSON object a line") from error


def answered_steps(path: Path, made_by: str) -> set[Key]:
    """Return the golden steps that a file answers already; none if it does not exist.

    Raise OneLineError if the file is not by `made_by`.
    """
    if not path.exists():
        return set()
    found = set()
    for number, read in read_predictions(path):
        if isinstance(read, Malformed):
            continue  # the step of a torn line is answered again
        if read.made_by != made_by:
            raise OneLineError(
                f"{path}, line {number}: made by another policy, or with other data or settings; name another file, or"
                " delete it"
            )
        found.add(read.key)
    return found


def _frame(row: Mapping[str, Any], key: str, kind: str) -> Frame:
    sides = get_field(row, key, list)
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise BrokenError(f"{key} must be [width, height] in pixels, is {sides!r}")
    return Frame(kind, *sides)


def _answer(row: Mapping[str, Any], frame: Frame) -> Action | Malformed:
    if "predicted" in row:
        return parse_action(row["predicted"], frame, WITH_ANSWER)
    if "malformed" in row:
        return Malformed(check_type(row["malformed"], str, "malformed"))
    response = parse_response(get_field(row, "response", str), frame, WITH_ANSWER)
    return response if isinstance(response, Malformed) else response.action
