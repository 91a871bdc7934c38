"""A killed pretraining of the base policy ends with the metrics and weights of an unbroken one."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mobile_r1_jax.model.config import PolicyConfig
from mobile_r1_jax.model.policy import Policy
from tools.base_policy import pretraining
from tools.base_policy.documents import documents
from tools.base_policy.pretraining import Pretraining, assemble, config_for, pretrain, recite, step_batch
from tools.base_policy.tokenizer import train_tokenizer

RUN = Pretraining(steps=4, batch=2, recitals=6, warmup=1, learning_rate=1e-2, save_every=2)


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return PreTrainedTokenizerFast(tokenizer_object=train_tokenizer())


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Return settings of a policy of one layer per tower, metrics at every step, and pointing on a few names."""
    whole, point = pretraining.base_config, pretraining.pointing

    def one_layer(*ids: int) -> PolicyConfig:
        config = whole(*ids)
        text = replace(config.text, layers=1, feed_forward=32)
        return replace(config, text=text, vision=replace(config.vision, layers=1, feed_forward=32, full_attention=()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretraining, "base_config", one_layer)
        patch.setattr(pretraining, "ROW_EVERY", 1)
        patch.setattr(pretraining, "pointing", lambda *arguments: point(*arguments[:-1], 2))
        yield


def rows(folder: Path) -> list[dict[str, Any]]:
    """Return the metrics without times."""
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read]


def weights(policy: Policy) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(policy))]


@pytest.fixture(scope="module")
def unbroken(small: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Policy]:
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, pretrain(RUN, folder)


@pytest.mark.slow
def test_run_killed_between_checkpoints_ends_like_an_unbroken_run(
    unbroken: tuple[Path, Policy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the fourth step, when the third is in the metrics but not in a checkpoint."""
    step, calls = pretraining.train_step, iter(range(1, 100))

    def killed(*arguments: Any) -> Any:
        if next(calls) == 4:
            raise KilledError
        return step(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(pretraining, "train_step", killed)
        pretrain(RUN, tmp_path)
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3]
    policy = pretrain(RUN, tmp_path)
    assert rows(tmp_path) == rows(unbroken[0]) and [row["step"] for row in rows(tmp_path)] == [1, 2, 3, 4]
    for one, other in zip(weights(policy), weights(unbroken[1]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_restarted_finished_run_returns_its_policy_and_keeps_its_tokenizer(
    unbroken: tuple[Path, Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, policy = unbroken
    before = rows(folder)
    monkeypatch.setattr(pretraining, "train_tokenizer", None)  # the names on screens may have changed
    again = pretrain(RUN, folder)
    assert rows(folder) == before
    for one, other in zip(weights(again), weights(policy), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_metrics_have_every_loss_and_pointing_accuracy_at_checkpoints(
    unbroken: tuple[Path, Policy],
) -> None:
    written = rows(unbroken[0])
    assert all(np.isfinite(row["text"]) and row["stage"] == "pretraining" for row in written)
    assert [row["step"] for row in written if "pointing" in row] == [2, 4]
    assert written[-1]["text"] < written[0]["text"]


def test_step_determines_its_documents(tokenizer: PreTrainedTokenizerBase) -> None:
    config = config_for(tokenizer)
    first, again, second = (step_batch(tokenizer, config, RUN, step) for step in (0, 0, 1))
    for reading, same, other in zip(first, again, second, strict=True):
        np.testing.assert_array_equal(reading.ids, same.ids)
        assert (reading.ids != other.ids).any()


def test_recital_gives_the_purpose_and_the_content_of_its_system_text(tokenizer) -> None:
    reading = recite(tokenizer, config_for(tokenizer), 0, 16)
    assert reading.learned.any(axis=(1, 2)).all() and reading.screens.patches.shape[0] == 0
    instructions = 0
    for row in range(16):
        text = tokenizer.decode(reading.ids[row, 0][reading.learned[row, 0]])
        system = tokenizer.decode(reading.prompts.ids[row][reading.prompts.mask[row]])
        said = system.split("Say: ")[1].split("\n")[0] + "\n"
        purpose = text.removesuffix(said).split()
        assert text.endswith(said) and purpose
        instructions += "Task: " in system
        assert "Task: " in system or all(word in system for word in purpose)
    assert 0 < instructions < 16


def test_pointing_is_measured_on_held_out_screens() -> None:
    """`Random` treats the seed -n like n: a negative seed gives no other screens."""
    asked: list[int] = []

    def ask(seed: int, size: tuple[int, int]) -> None:
        asked.append(abs(seed))
        raise KilledError  # the test needs only the seeds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretraining, "documents", ask)
        for run in (RUN, replace(RUN, seed=1)):
            with pytest.raises(KilledError):
                pretraining.pointing(None, None, None, None, run, 2)
    trained = {run * pretraining.SEEDS + step for run in (0, 1) for step in (0, 1, RUN.steps, 1_000_000)}
    assert len(asked) == 2 and not set(asked) & trained


def test_only_answers_of_a_batch_carry_loss(tokenizer: PreTrainedTokenizerBase) -> None:
    chosen = list(islice(documents(5, RUN.size), 6))
    batch = assemble(tokenizer, config_for(tokenizer), chosen)
    for row, document in enumerate(chosen):
        learned = tokenizer.decode(batch.ids[row, 0][batch.learned[row, 0]])
        assert "".join(text for text, answer in document.text if answer).startswith(learned) and learned
        whole = tokenizer.decode(batch.ids[row, 0][batch.there[row, 0]])
        assert "".join(text for text, _ in document.text).startswith(whole)


def test_documents_fit_the_shapes_and_few_are_truncated(tokenizer: PreTrainedTokenizerBase) -> None:
    config, cut = config_for(tokenizer), 0
    for seed in range(8):
        batch = assemble(
            tokenizer, config, list(islice(documents(seed, RUN.size), 16))
        )  # ValueError where one does not
        cut += int(batch.there.all(axis=-1).sum())
    assert cut < 0.25 * 8 * 16
