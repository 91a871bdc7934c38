"""Checkpoints in a bucket of the storage emulator: a real process, over HTTP."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run
from etils import epath
from flax import nnx
from storage_emulator import Emulator

from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.training.checkpoint_storage import COMMITTED, drafts, prepare_storage, steps_in
from mobile_r1_jax.training.checkpoints import (
    CheckpointError,
    finish,
    open_checkpoints,
    restore,
    save,
    stored_parameters,
)
from mobile_r1_jax.training.metrics import ROWS, read_rows
from mobile_r1_jax.training.state import TrainState


@pytest.fixture(scope="module")
def states() -> dict[int, TrainState]:
    """States of a few arrays, which need no compilation."""
    return {seed: small_state(seed) for seed in (5, 6)}


def small_state(seed: int) -> TrainState:
    numbers = np.random.default_rng(seed)
    weights, moments = ({"text": {"embedding": jnp.asarray(numbers.normal(size=(64, 32)))}} for _ in range(2))
    parameters = nnx.State(jax.tree.map(nnx.Param, weights))
    return TrainState(jnp.int32(seed), jax.random.key(seed), parameters, nnx.State({}), moments, None)


@pytest.fixture
def folder(bucket: Emulator, tmp_path: Path) -> Iterator[epath.Path]:
    """A folder of the bucket that no other test uses."""
    folder = epath.Path(f"gs://bucket/{tmp_path.name}/run/stage")
    prepare_storage(folder)
    yield folder
    folder.rmtree(missing_ok=True)


def same(one: TrainState, other: TrainState) -> bool:
    return all(bool((a == b).all()) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_bucket_and_folder_keep_the_same_checkpoints(folder: epath.Path, states, tmp_path: Path) -> None:
    for place in (folder, tmp_path):
        with open_checkpoints(place, keep=1, keep_every=2) as checkpoints:
            for step in (1, 2, 3):
                save(checkpoints, states[5 + step % 2], step, {"place": 10 * step})
        assert steps_in(epath.Path(place)) == [2, 3] and not drafts(epath.Path(place))
        with open_checkpoints(place) as checkpoints:
            state, step, position = restore(checkpoints, states[5])
        assert (step, position) == (3, {"place": 30}) and same(state, states[6])
        step, stored = stored_parameters(place)
        assert (
            step == 3
            and (stored["text.embedding"].read().result() == states[6].trained["text"]["embedding"].get_value()).all()
        )


def flip(file: epath.Path) -> None:
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 4]) + content[1:])


DAMAGE: dict[str, tuple[Callable[[epath.Path], object], str]] = {
    "flipped": (flip, "is not as it was written"),
    "cut": (lambda file: file.write_bytes(file.read_bytes()[:-3]), "of its"),
    "lost": (lambda file: file.unlink(), "is missing"),
}


@pytest.mark.parametrize(
    "kinds", [["flipped"], pytest.param(["cut", "flipped", "lost"], marks=pytest.mark.slow)], ids=["one", "three"]
)
def test_damage_in_a_bucket_restores_the_newest_intact_checkpoint(kinds, folder, states, caplog) -> None:
    damaged = {step: DAMAGE[kind] for step, kind in enumerate(kinds, start=6)}
    with open_checkpoints(folder, keep=9) as checkpoints:
        for step in (5, *damaged):
            save(checkpoints, states[5], step, {"place": step})
    for step, (damage, _) in damaged.items():
        damage(max((folder / f"{step}/state/ocdbt.process_0/d").iterdir(), key=lambda path: path.stat().length))
    with open_checkpoints(folder, keep=9) as checkpoints:
        state, step, position = restore(checkpoints, states[6])
        assert (step, position) == (5, {"place": 5}) and same(state, states[5])
        save(checkpoints, states[6], 6, {"place": 60})
    lines = [record.getMessage() for record in caplog.records if "is damaged" in record.getMessage()]
    for line, (step, (_, said)) in zip(lines, reversed(damaged.items()), strict=True):
        assert line.startswith(f"checkpoint {step} in {folder} is damaged: state/ocdbt") and said in line
        assert line.endswith("; taking checkpoint 5")
    assert [path.name for path in sorted(folder.iterdir())] == ["5", "6", *(f"damaged-{step}" for step in damaged)]
    assert stored_parameters(folder)[0] == 6


def test_refused_access_is_a_one_line_error_and_not_damage(folder, states, bucket: Emulator) -> None:
    with open_checkpoints(folder) as checkpoints:
        save(checkpoints, states[5], 5, {})
        finish(checkpoints)
        with bucket.refuse("GET"), pytest.raises(CheckpointError, match=f"^{folder} does not answer: .*start again"):
            restore(checkpoints, states[6])
    with (
        pytest.raises(CheckpointError, match=r"cannot be written to .*; checkpoint 5 is the last one there$") as caught,
        bucket.refuse("POST /upload"),
        open_checkpoints(folder) as checkpoints,
    ):
        save(checkpoints, states[6], 6, {})
        finish(checkpoints)
    assert "\n" not in str(caught.value)
    assert steps_in(folder) == [5] and stored_parameters(folder)[0] == 5
    with open_checkpoints(folder) as checkpoints:  # what threads may have written after that is not in the way
        save(checkpoints, states[6], 6, {})
    assert [path.name for path in sorted(folder.iterdir())] == ["5", "6"] and stored_parameters(folder)[0] == 6


@pytest.mark.parametrize(
    ("method", "place", "said"),
    [
        ("", "gs://no-such-bucket/folder", "there is no bucket gs://no-such-bucket, or it is not yours; create it"),
        (
            "POST",
            "gs://bucket/folder",
            "gs://bucket/folder cannot be written: .*403.*give the account the roles Storage",
        ),
        ("DELETE", "gs://bucket/folder", "gs://bucket/folder cannot be written: .*give the account the roles Storage"),
        (
            "GET",
            "gs://bucket/folder",
            "gs://bucket/folder cannot be written: .*403.*give the account the roles Storage",
        ),
    ],
)
def test_wrong_bucket_is_a_one_line_error(method: str, place: str, said: str, bucket: Emulator) -> None:
    with (
        bucket.refuse(method) if method else nullcontext(),
        pytest.raises(OneLineError, match=f"^checkpoints: {said}") as caught,
    ):
        prepare_storage(epath.Path(place))
    assert "\n" not in str(caught.value)


ELSEWHERE = """
import importlib.util, sys
from etils import epath
from mobile_r1_jax.training.checkpoint_storage import prepare_storage
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == sys.argv[1] else find(name, package)
try:
    prepare_storage(epath.Path("gs://bucket/folder"))
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("gcsfs", r"checkpoints: gs://bucket/folder needs gcsfs; pip install 'mobile-r1-jax\[gcs\]'\n"),
        (
            "",
            "checkpoints: gs://bucket/folder cannot be written: Your default credentials were not found.*; log in .*\n",
        ),
    ],
)
def test_missing_package_or_login_is_a_one_line_error(without: str, said: str, tmp_path: Path) -> None:
    pytest.importorskip("gcsfs")
    others = {name: value for name, value in os.environ.items() if "EMULATOR" not in name and "GOOGLE" not in name}
    others |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HOME": str(tmp_path), "NO_GCE_CHECK": "true"}
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, without], env=others, capture_output=True, text=True)
    assert re.fullmatch(said, done.stdout), done.stdout + done.stderr


@pytest.mark.slow
def test_run_resumed_from_a_bucket_equals_an_unbroken_one(folder, tmp_path: Path) -> None:
    tiny_run.run(tmp_path / "whole", 3, "adapters")
    for updates in (2, 3):
        tiny_run.run(tmp_path, updates, "adapters", f"{folder}")
    assert read_rows(tmp_path / ROWS) == read_rows(tmp_path / "whole" / ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_killed_save_leaves_the_previous_checkpoint(steps: int, folder, tmp_path: Path, bucket) -> None:
    command = [sys.executable, tiny_run.__file__, str(tmp_path), "1000", "adapters", f"{folder}"]
    disk = bucket.disk / str(folder).removeprefix("gs://bucket/")
    process = subprocess.Popen(command, env=os.environ.copy())
    while not (disk / f"{steps + 1}" / "state").exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (disk / f"{steps + 1}" / COMMITTED).exists() and steps_in(folder)[-1] == steps
    assert stored_parameters(folder)[0] == steps
    tiny_run.run(tmp_path, steps + 2, "adapters", f"{folder}")
    assert steps_in(folder) == [steps + 1, steps + 2] and not drafts(folder)
    tiny_run.run(tmp_path / "whole", steps + 2, "adapters")
    assert read_rows(tmp_path / ROWS) == read_rows(tmp_path / "whole" / ROWS)
