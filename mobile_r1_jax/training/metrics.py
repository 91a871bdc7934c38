"""Metrics of a run: a line of JSON per step, and the same curves for TensorBoard.

A run that resumes from step 7 has no rows after step 7: what it wrote before it was killed is what it now does again.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
from tensorboardX import SummaryWriter

ROWS = "metrics.jsonl"
CURVES = "tensorboard"


class MetricsLog:
    """Writes rows `{"stage": …, "step": …, name: number, …}` for one stage; a context manager.

    Several stages share a directory's metrics.jsonl, each with its own TensorBoard folder. In a run of several
    processes the first one writes, and the others' logs do nothing.
    """

    def __init__(self, directory: Path, stage: str, *, after_step: int) -> None:
        """Opens the log of a stage that goes on after `after_step` updates; its later rows are dropped (-1: all)."""
        self.stage = stage
        self._rows, self._curves = None, None
        if jax.process_index() != 0:
            return
        directory.mkdir(parents=True, exist_ok=True)
        drop_rows(directory / ROWS, stage, after_step)
        self._rows = (directory / ROWS).open("a", encoding="utf-8")
        self._curves = SummaryWriter(str(directory / CURVES / stage), purge_step=after_step + 1)

    def write(self, step: int, values: Mapping[str, Any]) -> dict[str, float]:
        """Writes a row, flushed, and returns its values; scalars on the device are fetched here."""
        row = {name: float(value) for name, value in jax.device_get(dict(values)).items()}
        if self._rows is not None:
            # JSON has no NaN or infinity; null says that there was a number which is none.
            finite = {name: value if math.isfinite(value) else None for name, value in row.items()}
            line = json.dumps({"stage": self.stage, "step": step, **finite}, allow_nan=False)
            self._rows.write(line + "\n")
            self._rows.flush()
            for name, value in row.items():
                self._curves.add_scalar(name, value, step)
        return row

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rows is not None:
            self._rows.close()
            self._curves.close()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl in order, without a last one that a kill cut short; none where there is no file."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    # Only what ends in a line break was written whole.
    return [json.loads(line) for line in lines[:-1]]


def drop_rows(path: Path, stage: str, after_step: int) -> None:
    """Takes the rows of `stage` after that step out of a metrics.jsonl, all or nothing."""
    if not path.exists():
        return
    kept = [row for row in read_rows(path) if row.get("stage") != stage or row["step"] <= after_step]
    fresh = path.with_suffix(".new")
    fresh.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    os.replace(fresh, path)
