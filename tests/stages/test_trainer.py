"""The loop of all stages: a killed and restarted stage ends like an unbroken one."""

import asyncio
import dataclasses
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
import pytest
from rich.console import Console
from tiny_run import CONFIG, OPTIMIZER, make_batch, make_policy
from transformers import PreTrainedTokenizerFast

from mobile_r1_jax.agent.prompts import PromptFormat
from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.config import Run
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.sharding import make_mesh, shard_policy
from mobile_r1_jax.phones.phone import PhonesUnavailable
from mobile_r1_jax.phones.providers import open_tasks
from mobile_r1_jax.rewards.judges.judge import JudgeError
from mobile_r1_jax.rl import GRPO
from mobile_r1_jax.session import Session
from mobile_r1_jax.stages.declaration import Stage
from mobile_r1_jax.stages.trainer import UpdateData, run_updates
from mobile_r1_jax.training.checkpoints import stored_parameters
from mobile_r1_jax.training.state import NonFiniteError, TrainState
from mobile_r1_jax.training.step import place_batch
from tools.base_policy.tokenizer import train_tokenizer

STAGE = Stage(2, "action_level", 5, GRPO(beta=0.1), OPTIMIZER, ("vision",), 1.0, metric="reward")


class KilledError(Exception):
    pass


@pytest.fixture
def session_in() -> Callable[[Path], Session]:
    prompt_format = PromptFormat(
        PreTrainedTokenizerFast(tokenizer_object=train_tokenizer()), "{instruction}", Resizing()
    )

    def make(folder: Path) -> Session:
        run = Run(folder=folder, save_every=2)
        return Session(
            run, CONFIG, prompt_format, open_tasks(run.tasks, run.phones), make_mesh("1x1"), Console(quiet=True)
        )

    return make


def play(
    session: Session,
    stage: Stage = STAGE,
    *,
    killed_at: int = -1,
    kill: type[Exception] = KilledError,
    cancelled_at: int = -1,
    empty: tuple[int, ...] = (),
    lengths: Mapping[int, int] = MappingProxyType({}),
    bad: tuple[int, ...] = (),
    on_the_device: bool = True,
    ahead_of_devices: bool = False,
) -> Policy:
    """Train on batches that depend only on the position in the data. Updates in `empty` have nothing to learn from,
    updates in `bad` have a loss of NaN. lengths: of prompts, by position."""

    async def make_batches(state: TrainState, update: int, position: dict[str, Any]) -> UpdateData:
        if update == killed_at:
            raise kill("no more")
        if update == cancelled_at:
            outer.cancel()
            if not ahead_of_devices:
                await asyncio.sleep(60)
        place = position.get("place", 100)
        assert place == 100 + update
        batches = [] if update in empty else [make_batch(place, prompt=lengths.get(place, 10))]
        if update in bad:
            batches[0].completions.advantages[:] = np.nan
        if on_the_device:
            batches = [place_batch(batch, session.mesh) for batch in batches]
        return UpdateData(batches, {"reward": float(place)}, {"place": place + 1})

    async def all_updates() -> Policy:
        nonlocal outer
        outer = asyncio.current_task()
        return await run_updates(session, stage, shard_policy(make_policy(), session.mesh), make_batches)

    outer: asyncio.Task[Policy] | None = None
    return asyncio.run(all_updates())


def rows(session: Session) -> list[dict[str, Any]]:
    """Return the run's metrics without times."""
    lines = (session.run.directory / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if not name.startswith("seconds")} for line in lines
    ]


def weights(policy: Policy) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(policy)]


def same(one: Policy, other: Policy) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.mark.parametrize("killed_at", [1, 2, 3])
def test_stage_killed_at_any_update_ends_with_the_same_metrics_and_weights(
    killed_at: int, session_in: Callable[[Path], Session], tmp_path: Path
) -> None:
    whole, broken = session_in(tmp_path / "whole"), session_in(tmp_path / "broken")
    policy = play(whole)
    with pytest.raises(KilledError):
        play(broken, killed_at=killed_at)
    assert len(rows(broken)) == killed_at
    assert same(play(broken), policy) and rows(broken) == rows(whole)
    assert [(row["step"], row["reward"]) for row in rows(whole)] == [(n, 99.0 + n) for n in range(1, 6)]


@pytest.mark.parametrize("killed_at", [-1, 3])
def test_prefetched_batches_give_the_same_run_and_are_ready_during_the_update(
    killed_at: int, session_in: Callable[[Path], Session], tmp_path: Path
) -> None:
    whole, ahead = session_in(tmp_path / "whole"), session_in(tmp_path / "ahead")
    policy, stage = play(whole), dataclasses.replace(STAGE, ahead=True)
    if killed_at > 0:
        with pytest.raises(KilledError):
            play(ahead, stage, killed_at=killed_at)
        assert len(rows(ahead)) == killed_at - 1  # during the update before
    assert same(play(ahead, stage), policy) and rows(ahead) == rows(whole)


def test_finished_stage_returns_its_policy_without_a_batch(session_in, tmp_path: Path) -> None:
    session = session_in(tmp_path)
    policy = play(session)
    assert same(play(session, killed_at=5), policy) and len(rows(session)) == 5


def test_empty_update_is_logged_and_changes_nothing(session_in, tmp_path: Path) -> None:
    stage = dataclasses.replace(STAGE, updates=1)
    before, after = make_policy(), play(session_in(tmp_path), stage, empty=(0,))
    assert same(before, after) and rows(session_in(tmp_path)) == [{"stage": "action_level", "step": 1, "reward": 100.0}]


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize(("bad", "empty"), [((0,), ()), ((1, 2), ()), ((0, 1, 3, 4), ()), ((4,), (2, 3))], ids=str)
def test_bad_updates_are_logged_and_skipped(bad, empty, ahead, session_in, tmp_path: Path, caplog) -> None:
    """Up to two in a row; an empty update is neither good nor bad."""
    session = session_in(tmp_path)
    policy = play(session, dataclasses.replace(STAGE, ahead=ahead), bad=bad, empty=empty)
    assert all(np.isfinite(leaf).all() for leaf in weights(policy))
    written = rows(session)
    assert [row["step"] for row in written] == [1, 2, 3, 4, 5]
    assert [row.get("skipped") for row in written] == [None if n in empty else float(n in bad) for n in range(5)]
    assert all((row.get("loss", 0) is None) == (n in bad) for n, row in enumerate(written))
    warned = [record.getMessage() for record in caplog.records if "was skipped" in record.getMessage()]
    assert len(warned) == len(bad) and all("not finite: grad_norm, " in line and "\n" not in line for line in warned)


def test_empty_update_does_not_end_a_sequence_of_bad_updates(session_in, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="action_level: "):
        play(session_in(tmp_path), bad=(1, 2, 4), empty=(3,))


@pytest.mark.parametrize("first", [0, 1, 2])
def test_three_bad_updates_in_a_row_are_a_one_line_error_and_the_run_can_resume(
    first, session_in, tmp_path: Path
) -> None:
    session = session_in(tmp_path)
    with pytest.raises(NonFiniteError, match=rf"last 3 updates, up to {first + 3}, .* not finite: .*loss") as caught:
        play(session, bad=(first, first + 1, first + 2))
    assert "\n" not in str(caught.value) and caught.value.args[0].startswith("action_level: ")
    assert [row.get("skipped") for row in rows(session)] == [0.0] * first + [1.0] * 3
    # The checkpoint has the weights from before the bad updates, and the run resumes there.
    assert all(np.isfinite(leaf).all() for leaf in weights(play(session)))
    assert [row["step"] for row in rows(session)] == [1, 2, 3, 4, 5]


def test_reference_keeps_the_weights_of_the_start_of_the_stage(session_in, tmp_path: Path) -> None:
    session = session_in(tmp_path)
    policy = play(session)
    kl = [row["kl"] for row in rows(session)]
    assert kl[0] == pytest.approx(0, abs=1e-6) and all(later > 1e-6 for later in kl[1:])
    assert not same(policy, make_policy())


def test_vision_tower_stays_frozen_if_the_stage_freezes_it(session_in, tmp_path: Path) -> None:
    before, after = make_policy(), play(session_in(tmp_path))
    for one, other in zip(jax.tree.leaves(before.vision), jax.tree.leaves(after.vision), strict=True):
        np.testing.assert_array_equal(one, other)


def test_compilation_for_a_new_bucket_is_logged_as_info(session_in, tmp_path: Path, caplog) -> None:
    """The fourth update has longer prompts: the programs of reference and gradients compile for them."""
    jax.clear_caches()  # forget the programs of other tests
    caplog.set_level(logging.INFO, run_updates.__module__)
    play(session_in(tmp_path), lengths={103: 12})
    said = [record for record in caplog.records if record.name == run_updates.__module__]
    assert [record.getMessage().split(" for ")[0] for record in said] == [
        f"action_level, update 4: jit({program}) was compiled" for program in ("completion_logps", "batch_gradients")
    ]
    assert all("int32[2,12]" in record.getMessage() and "int32[2,10]" not in record.getMessage() for record in said)
    assert {record.levelno for record in said} == {logging.INFO}


def test_batch_on_the_host_is_an_error(session_in, tmp_path: Path) -> None:
    with pytest.raises(jax.errors.JaxRuntimeError, match="Disallowed host-to-device transfer"):
        play(session_in(tmp_path), on_the_device=False)


def test_metrics_contain_the_seconds_of_an_update(session_in, tmp_path: Path) -> None:
    session = session_in(tmp_path)
    play(session, dataclasses.replace(STAGE, updates=1))
    row = json.loads((session.run.directory / "metrics.jsonl").read_text())
    assert row["seconds"] >= row["seconds_data"] > 0


@pytest.mark.parametrize("ahead", [False, True], ids=["while batches are made", "while the devices are at an update"])
def test_cancelled_stage_saves_its_state_and_resumes_there(session_in, tmp_path, ahead) -> None:
    """save_every is 2: without a checkpoint at the cancellation, update 3 would be computed twice."""
    stage = dataclasses.replace(STAGE, ahead=ahead)
    whole, session = session_in(tmp_path / "whole"), session_in(tmp_path / "cancelled")
    policy = play(whole, stage)
    with pytest.raises(asyncio.CancelledError):
        play(session, stage, cancelled_at=3, ahead_of_devices=ahead)
    saved = sorted(int(path.name) for path in (session.run.directory / "checkpoints" / stage.name).glob("[0-9]*"))
    assert saved[-1] == 3 and len(rows(session)) == 3
    resumed = play(session, stage)
    assert rows(session) == rows(whole)
    same = jax.tree.map(lambda one, other: bool((one == other).all()), resumed, policy)
    assert all(jax.tree.leaves(same))


@pytest.mark.parametrize("error", [JudgeError, PhonesUnavailable])
def test_stage_that_loses_its_judge_or_phones_saves_its_state(error, session_in, tmp_path) -> None:
    session = session_in(tmp_path)
    with pytest.raises(error, match="no more"):
        play(session, killed_at=3, kill=error)
    assert stored_parameters(session.run.directory / "checkpoints" / STAGE.name)[0] == 3
    play(session)
    assert [row["step"] for row in rows(session)] == list(range(1, STAGE.updates + 1))
