import json

import jax.numpy as jnp
from tensorboardX.proto import event_pb2

from mobile_r1_jax.training.metrics import CURVES, ROWS, MetricsLog, read_rows


def test_rows_after_the_restored_step_are_dropped_for_that_stage_alone(tmp_path) -> None:
    with MetricsLog(tmp_path, "first", after_step=-1) as log:
        for step in range(3):
            log.write(step, {"loss": jnp.float32(step)})
    with MetricsLog(tmp_path, "second", after_step=-1) as log:
        for step in range(4):
            log.write(step, {"loss": 10.0 + step})
    with MetricsLog(tmp_path, "second", after_step=1) as log:
        log.write(2, {"loss": 99})
    rows = [(row["stage"], row["step"], row["loss"]) for row in read_rows(tmp_path / ROWS)]
    first = [("first", step, step) for step in range(3)]
    assert rows == [*first, ("second", 0, 10), ("second", 1, 11), ("second", 2, 99)]


def test_a_row_that_a_kill_cut_short_is_gone_and_the_next_one_starts_on_its_own_line(tmp_path) -> None:
    with MetricsLog(tmp_path, "only", after_step=-1) as log:
        log.write(1, {"loss": 0.5})
    with (tmp_path / ROWS).open("a") as file:
        file.write('{"stage": "only", "st')
    assert len(read_rows(tmp_path / ROWS)) == 1
    with MetricsLog(tmp_path, "only", after_step=1) as log:
        log.write(2, {"loss": 0.25})
    assert [json.loads(line)["loss"] for line in (tmp_path / ROWS).read_text().splitlines()] == [0.5, 0.25]


def test_numbers_that_are_none_become_null_and_the_row_stays_valid_json(tmp_path) -> None:
    with MetricsLog(tmp_path, "only", after_step=-1) as log:
        log.write(1, {"loss": jnp.float32(jnp.nan), "kl": float("inf"), "tokens": 3})
    assert read_rows(tmp_path / ROWS) == [{"stage": "only", "step": 1, "loss": None, "kl": None, "tokens": 3.0}]


def test_tensorboard_gets_the_same_numbers(tmp_path) -> None:
    with MetricsLog(tmp_path, "only", after_step=-1) as log:
        log.write(4, {"loss": 0.5})
    (file,) = (tmp_path / CURVES / "only").iterdir()
    data, found = file.read_bytes(), []
    while data:  # length (8 bytes), its checksum (4), the event, its checksum (4)
        length = int.from_bytes(data[:8], "little")
        event = event_pb2.Event.FromString(data[12 : 12 + length])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        data = data[16 + length :]
    assert found == [("loss", 4, 0.5)]
