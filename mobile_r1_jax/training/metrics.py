"""Metrics of a run: a line of JSON per step, and the same curves for TensorBoard and, if enabled, Weights & Biases.

When a run resumes from step 7, rows after step 7 are removed, since the run repeats these steps.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from mobile_r1_jax.agent.json_lines import append_line, keep_objects, read_objects
from mobile_r1_jax.training.curves import Curves
from mobile_r1_jax.training.tracking import WandbCurves
from mobile_r1_jax.training.tracking_settings import TrackingSettings

ROWS = "metrics.jsonl"
CURVES = "tensorboard"


class MetricsLog:
    """A log of rows `{"stage": …, "step": …, name: number, …}` for one stage.

    All stages share the metrics.jsonl of a directory; each has its own TensorBoard folder. Only process 0 writes. As a
    context manager it ends the stage's run at Weights & Biases.
    """

    def __init__(
        self,
        directory: Path,
        stage: str,
        *,
        after_step: int,
        tracking: TrackingSettings = TrackingSettings(),  # noqa: B008
        config: Mapping[str, Any] = {},
    ) -> None:
        """Open the log of a stage that resumes after `after_step` updates. Its later rows are removed (-1: all).

        config: the settings of the run, for Weights & Biases."""
        self.stage = stage
        self._path = directory / ROWS
        self._curves: Curves | None = None
        self._wandb: WandbCurves | None = None
        if jax.process_index() == 0:
            directory.mkdir(parents=True, exist_ok=True)
            drop_rows(self._path, stage, after_step)
            self._curves = Curves(directory / CURVES / stage, first_step=after_step + 1)
            if tracking.wandb:
                self._wandb = WandbCurves(tracking, directory, stage, after_step=after_step, config=config)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._wandb is not None:
            self._wandb.close(failed=kind is not None)

    def write(self, step: int, values: Mapping[str, Any]) -> dict[str, float]:
        """Write a row and return its values. It copies scalars from the device.

        Raises an OSError that names the file, for example when the disk is full. Earlier rows stay."""
        row = {name: float(value) for name, value in jax.device_get(dict(values)).items()}
        if self._curves is not None:
            # JSON has no NaN or infinity; they are written as null.
            finite = {name: value if math.isfinite(value) else None for name, value in row.items()}
            line = json.dumps({"stage": self.stage, "step": step, **finite}, allow_nan=False)
            append_line(self._path, line)
            self._curves.write(step, row)
        if self._wandb is not None:
            self._wandb.write(step, row)
        return row


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a metrics.jsonl in order, without an incomplete last row; no rows if there is no file.

    Raises OneLineError with the file and the line for a row that is not a JSON object."""
    return read_objects(path)


def drop_rows(path: Path, stage: str, after_step: int) -> None:
    """Remove the rows of `stage` after this step from a metrics.jsonl, atomically."""
    keep_objects(path, lambda row: row.get("stage") != stage or row["step"] <= after_step)
