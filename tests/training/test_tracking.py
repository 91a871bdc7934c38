"""Weights & Biases: the real library in offline mode (slow), and the errors without it."""

import json
import struct
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.training.metrics import MetricsLog, read_rows
from mobile_r1_jax.training.tracking import check_tracking
from mobile_r1_jax.training.tracking_settings import TrackingSettings

ON = TrackingSettings(wandb=True)
UNREACHABLE = {"WANDB_MODE": "online", "WANDB_API_KEY": "a" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}


def test_wandb_is_not_needed_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    check_tracking(TrackingSettings())
    with MetricsLog(tmp_path, "s", after_step=0) as log:
        assert log.write(1, {"loss": 1.0}) == {"loss": 1.0}
    assert not (tmp_path / "wandb").exists()


def test_missing_wandb_is_a_one_line_error_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    for use in (lambda: check_tracking(ON), lambda: MetricsLog(tmp_path, "s", after_step=0, tracking=ON)):
        with pytest.raises(OneLineError, match=r"pip install 'mobile-r1-jax\[wandb\]'") as caught:
            use()
        assert "\n" not in str(caught.value)


def write_steps(directory: Path, stage: str, after_step: int, steps: range, tracking: TrackingSettings = ON) -> None:
    config = {"seed": 3, "shapes": {"windows": [1, 2]}}
    with MetricsLog(directory, stage, after_step=after_step, tracking=tracking, config=config) as log:
        for step in steps:
            log.write(step, {"loss": step / 2, "kl": float("nan")})


def records(file: Path) -> list[Any]:
    """The records of a wandb file: blocks of 32 KiB with chunks of (checksum, length, kind, bytes) after 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, body, found = file.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        body += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            found.append(Record.FromString(body))
            body = b""
    return found


def history(directory: Path) -> list[tuple[str, str, int, float]]:
    """(group, name of the run, step, loss) of every point, in the order in which they were written."""
    import wandb

    wandb.teardown()  # the library's process finishes the files
    points = []
    for file in sorted(directory.glob("wandb/*run-*/*.wandb"), key=lambda file: file.stat().st_mtime_ns):
        read = records(file)
        run = next(record.run for record in read if record.HasField("run"))
        for record in read:
            if record.HasField("history"):
                values = {item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                points.append((run.run_group, run.display_name, values["_step"], values["loss"]))
    return points


@pytest.mark.slow
def test_every_stage_is_a_run_of_a_group_and_resumes_after_a_kill(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr(sys, "argv", ["launch", "--judge.key=s3cr3t-v4lu3"])
    check_tracking(ON)
    directory = tmp_path / "tiny"
    write_steps(directory, "first", 0, range(1, 4))
    write_steps(directory, "second", 0, range(1, 3))
    first_id = (directory / "wandb" / "second.id").read_text()
    time.sleep(1.1)  # the library names its folders by the second
    write_steps(directory, "second", 2, range(3, 5))
    assert (directory / "wandb" / "second.id").read_text() == first_id
    first = [("tiny", "tiny: first", step, step / 2) for step in (1, 2, 3)]
    assert history(directory) == first + [("tiny", "tiny: second", step, step / 2) for step in (1, 2, 3, 4)]
    assert [row["step"] for row in read_rows(directory / "metrics.jsonl")] == [1, 2, 3, 1, 2, 3, 4]
    named = TrackingSettings(wandb=True, project="mine", name="other")
    write_steps(directory, "second", 0, range(1, 2), named)  # started again from the beginning: a new run
    assert (directory / "wandb" / "second.id").read_text() != first_id
    assert history(directory)[-1] == ("other", "other: second", 1, 0.5)
    written = b"".join(file.read_bytes() for file in directory.rglob("*") if file.is_file())
    assert b"s3cr3t" not in written and b'"windows"' in written


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"WANDB_MODE": "online"}, {}])
def test_missing_key_is_reported_before_the_run_starts(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    import wandb

    wandb.teardown()  # the library reads the environment once
    with pytest.raises(OneLineError, match="wandb login"):
        check_tracking(ON)
    wandb.teardown()


@pytest.mark.slow
def test_metrics_are_kept_without_a_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: Any) -> None:
    for name, value in (UNREACHABLE | {"WANDB_INIT_TIMEOUT": "4"}).items():
        monkeypatch.setenv(name, value)
    import wandb

    wandb.teardown()
    write_steps(tmp_path / "tiny", "first", 0, range(1, 4))
    assert "wandb sync" in caplog.text
    assert history(tmp_path / "tiny") == [("tiny", "tiny: first", step, step / 2) for step in (1, 2, 3)]
