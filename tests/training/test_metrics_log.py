import json
import resource
from pathlib import Path

import jax.numpy as jnp
import pytest
from tensorboardX.proto import event_pb2

from mobile_r1_jax.training.metrics import CURVES, ROWS, MetricsLog, read_rows


def test_rows_after_the_restored_step_are_dropped_for_that_stage_only(tmp_path) -> None:
    log = MetricsLog(tmp_path, "first", after_step=-1)
    for step in range(3):
        log.write(step, {"loss": jnp.float32(step)})
    log = MetricsLog(tmp_path, "second", after_step=-1)
    for step in range(4):
        log.write(step, {"loss": 10.0 + step})
    log = MetricsLog(tmp_path, "second", after_step=1)
    log.write(2, {"loss": 99})
    rows = [(row["stage"], row["step"], row["loss"]) for row in read_rows(tmp_path / ROWS)]
    first = [("first", step, step) for step in range(3)]
    assert rows == [*first, ("second", 0, 10), ("second", 1, 11), ("second", 2, 99)]


def test_row_cut_by_a_kill_is_removed_before_the_next_row(tmp_path) -> None:
    log = MetricsLog(tmp_path, "only", after_step=-1)
    log.write(1, {"loss": 0.5})
    with (tmp_path / ROWS).open("a") as file:
        file.write('{"stage": "only", "st')
    assert len(read_rows(tmp_path / ROWS)) == 1
    log = MetricsLog(tmp_path, "only", after_step=1)
    log.write(2, {"loss": 0.25})
    assert [json.loads(line)["loss"] for line in (tmp_path / ROWS).read_text().splitlines()] == [0.5, 0.25]


def test_nan_and_infinity_become_null_and_the_row_stays_valid_json(tmp_path) -> None:
    log = MetricsLog(tmp_path, "only", after_step=-1)
    log.write(1, {"loss": jnp.float32(jnp.nan), "kl": float("inf"), "tokens": 3})
    assert read_rows(tmp_path / ROWS) == [{"stage": "only", "step": 1, "loss": None, "kl": None, "tokens": 3.0}]


def test_tensorboard_gets_the_same_numbers(tmp_path) -> None:
    log = MetricsLog(tmp_path, "only", after_step=-1)
    log.write(4, {"loss": 0.5})
    (file,) = (tmp_path / CURVES / "only").iterdir()
    data, found = file.read_bytes(), []
    while data:  # length (8 bytes), its checksum (4), the event, its checksum (4)
        length = int.from_bytes(data[:8], "little")
        event = event_pb2.Event.FromString(data[12 : 12 + length])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        data = data[16 + length :]
    assert found == [("loss", 4, 0.5)]


@pytest.mark.parametrize("full", [ROWS, CURVES])
def test_full_disk_error_names_the_file_and_earlier_rows_stay(full: str, tmp_path: Path) -> None:
    """The system's limit on the size of a file replaces a full disk; the row decides which file reaches it first."""
    log = MetricsLog(tmp_path, "only", after_step=-1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    names = ["loss"] if full == CURVES else [f"metric_{number}" for number in range(20)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    written = 0
    try:
        with pytest.raises(OSError, match=f"File too large: '.*{full}.*'"):
            for step in range(1000):
                log.write(step, dict.fromkeys(names, 0.5))
                written = step + 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert written > 2 and [row["step"] for row in read_rows(tmp_path / ROWS)][:written] == list(range(written))
    log.write(written, {"loss": 0.25})
    assert read_rows(tmp_path / ROWS)[-1]["loss"] == 0.25
