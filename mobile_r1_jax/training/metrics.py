"""Metrics of a run: a line of JSON per step, and the same curves for TensorBoard.

A run that resumes from step 7 has no rows after step 7: what it wrote before it was killed is what it now does again.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from mobile_r1_jax.agent.json_lines import append_line, keep_objects, read_objects
from mobile_r1_jax.training.curves import Curves

ROWS = "metrics.jsonl"
CURVES = "tensorboard"


class MetricsLog:
    """Writes rows `{"stage": …, "step": …, name: number, …}` for one stage.

    Several stages share a directory's metrics.jsonl, each with its own TensorBoard folder. In a run of several
    processes the first one writes, and the others' logs do nothing.
    """

    def __init__(self, directory: Path, stage: str, *, after_step: int) -> None:
        """Opens the log of a stage that goes on after `after_step` updates; its later rows are dropped (-1: all)."""
        self.stage = stage
        self._path = directory / ROWS
        self._curves: Curves | None = None
        if jax.process_index() == 0:
            directory.mkdir(parents=True, exist_ok=True)
            drop_rows(self._path, stage, after_step)
            self._curves = Curves(directory / CURVES / stage, first_step=after_step + 1)

    def write(self, step: int, values: Mapping[str, Any]) -> dict[str, float]:
        """Writes a row and returns its values; scalars on the device are fetched here.

        Raises OSError that names the file, such as for a full disk; the rows before it stay."""
        row = {name: float(value) for name, value in jax.device_get(dict(values)).items()}
        if self._curves is not None:
            # JSON has no NaN or infinity; null says that there was a number which is none.
            finite = {name: value if math.isfinite(value) else None for name, value in row.items()}
            line = json.dumps({"stage": self.stage, "step": step, **finite}, allow_nan=False)
            append_line(self._path, line)
            self._curves.write(step, row)
        return row


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl in order, without a last one that a kill cut short; none where there is no file.

    Raises OneLineError with the file and the line for a row that is no JSON object."""
    return read_objects(path)


def drop_rows(path: Path, stage: str, after_step: int) -> None:
    """Takes the rows of `stage` after that step out of a metrics.jsonl, all or nothing."""
    keep_objects(path, lambda row: row.get("stage") != stage or row["step"] <= after_step)
