import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
import tiny_run

from mobile_r1_jax.training.checkpoints import CheckpointError, open_checkpoints, restore, save, stored_parameters
from mobile_r1_jax.training.metrics import ROWS, read_rows
from mobile_r1_jax.training.state import create_state

UPDATES = 4


@pytest.fixture(
    scope="module",
    params=["weights", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bfloat16 weights", "adapters"))],
)
def learning(request) -> str:
    """Return a state that trains weights in float32 or bfloat16, or adapters."""
    return request.param


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, learning) -> list[dict]:
    directory = tmp_path_factory.mktemp("unbroken")
    tiny_run.run(directory, UPDATES, learning)
    rows = read_rows(directory / ROWS)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    return rows


@pytest.mark.parametrize("done", [1, 2, 3])
def test_run_stopped_after_any_update_ends_like_an_unbroken_run(tmp_path, learning, unbroken, done) -> None:
    tiny_run.run(tmp_path, done, learning)
    tiny_run.run(tmp_path, UPDATES, learning)
    assert read_rows(tmp_path / ROWS) == unbroken


def test_run_killed_while_computing_and_writing_ends_like_an_unbroken_run(tmp_path, learning, unbroken) -> None:
    command = [sys.executable, tiny_run.__file__, str(tmp_path), "100000", learning]
    process = subprocess.Popen(command, env=os.environ.copy())
    deadline = time.monotonic() + 120
    while len(read_rows(tmp_path / ROWS)) < 9 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    killed_at = len(read_rows(tmp_path / ROWS))
    tiny_run.run(tmp_path, killed_at + 2, learning)
    rows = read_rows(tmp_path / ROWS)
    assert [row["step"] for row in rows] == list(range(1, killed_at + 3))
    assert rows[:UPDATES] == unbroken
    whole = tmp_path / "whole"
    tiny_run.run(whole, killed_at + 2, learning)
    assert read_rows(whole / ROWS) == rows


def test_restoring_gives_exact_parameters_optimizer_step_key_and_position(tmp_path) -> None:
    state = tiny_run.make_state(seed=3)
    state, _ = tiny_run.train_step(state, tiny_run.make_batch(0), settings=tiny_run.SETTINGS)
    with open_checkpoints(tmp_path) as checkpoints:
        save(checkpoints, state, 1, {"epoch": 2, "files": ["a", "b"]})
        checkpoints.wait_until_finished()
        restored, step, position = restore(checkpoints, tiny_run.make_state(seed=4))
    assert (step, position) == (1, {"epoch": 2, "files": ["a", "b"]})
    assert int(restored.step) == 1
    same = jax.tree.map(lambda a, b: a.dtype == b.dtype and bool(jnp.all(a == b)), state, restored)
    assert all(jax.tree.leaves(same))


def test_state_may_be_donated_while_its_checkpoint_is_being_written(tmp_path) -> None:
    state = tiny_run.make_state()
    expected = jax.device_get(state.trained)
    with open_checkpoints(tmp_path) as checkpoints:
        save(checkpoints, state, 0, {})
        for seed in range(3):
            state, _ = tiny_run.train_step(state, tiny_run.make_batch(seed), settings=tiny_run.SETTINGS)
        checkpoints.wait_until_finished()
        restored, _, _ = restore(checkpoints, tiny_run.make_state(seed=5))
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), expected, restored.trained)))


def test_only_the_last_checkpoints_are_kept(tmp_path) -> None:
    with open_checkpoints(tmp_path, keep=2) as checkpoints:
        for step in range(4):
            save(checkpoints, tiny_run.make_state(), step, {})
        checkpoints.wait_until_finished()
        assert list(checkpoints.all_steps()) == [2, 3]


def test_checkpoint_that_cannot_be_restored_is_a_one_line_error(tmp_path) -> None:
    state = tiny_run.make_state()
    with open_checkpoints(tmp_path) as checkpoints:
        with pytest.raises(CheckpointError, match=r"no finished checkpoint in .*; start this run without resuming"):
            restore(checkpoints, state)
        save(checkpoints, state, 7, {})
        checkpoints.wait_until_finished()
        with pytest.raises(CheckpointError, match=r"no checkpoint of step 5 .*there are: 7"):
            restore(checkpoints, state, step=5)
        whole = create_state(tiny_run.make_policy(), tiny_run.OPTIMIZER, key=jax.random.key(0))
        with pytest.raises(CheckpointError, match=r"trained\.vision\.\S+ is not in it"):
            restore(checkpoints, whole)
        wider = replace(state, key=jax.random.split(state.key, 2))
        with pytest.raises(CheckpointError, match=r"key is \[2\] in it but \[2, 2\] in this run") as caught:
            restore(checkpoints, wider)
        assert "\n" not in str(caught.value)


def test_unfinished_checkpoint_is_ignored(tmp_path) -> None:
    with open_checkpoints(tmp_path) as checkpoints:
        save(checkpoints, tiny_run.make_state(), 1, {})
    # The files of a process that was killed while it wrote step 2.
    source = tmp_path / "1"
    torn = tmp_path / "2.orbax-checkpoint-tmp-0"
    Path(torn / "state").mkdir(parents=True)
    (torn / "state" / "manifest.ocdbt").write_bytes((source / "state" / "manifest.ocdbt").read_bytes())
    with open_checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step() == 1
        restore(checkpoints, tiny_run.make_state(seed=2))


def test_checkpoint_of_adapters_contains_no_weights_of_the_base(tmp_path) -> None:
    state, _ = tiny_run.train_step(tiny_run.make_adapted_state(), tiny_run.make_batch(0), settings=tiny_run.SETTINGS)
    with open_checkpoints(tmp_path) as checkpoints:
        save(checkpoints, state, 1, {})
        checkpoints.wait_until_finished()
        restored, _, _ = restore(checkpoints, tiny_run.make_adapted_state(seed=1))
        with pytest.raises(CheckpointError, match=r"trained\.text\.\S+ is not in it"):
            restore(checkpoints, tiny_run.make_state())
    same = jax.tree.map(lambda a, b: a.dtype == b.dtype and bool(jnp.all(a == b)), state, restored)
    assert all(jax.tree.leaves(same))
    assert {path.rsplit(".", 2)[1] for path in stored_parameters(tmp_path)[1]} == {"adapter"}
