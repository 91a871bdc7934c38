"""Episodes under every kind of trouble: none is lost, none hangs, and every outcome agrees with the phone."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from transformers import PreTrainedTokenizerBase

from benchmarks.trouble import HEALTHY, MIXED, TroubledPhones, load_tokenizer, play, troubles
from mobile_r1_jax.agent.trajectory import Ending
from mobile_r1_jax.phones.simulator.trouble import KINDS

GENTLE = (HEALTHY, "popup", "permission", "not_responding", "slow", "asleep", "latency", "keyboard_lost")
ROWS = [HEALTHY, *KINDS, MIXED]


@pytest.fixture(scope="module")
def phones() -> Iterator[TroubledPhones]:
    with closing(TroubledPhones(4)) as phones:
        yield phones


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer()


def check(phones: TroubledPhones, tokenizer: PreTrainedTokenizerBase, kind: str, count: int) -> None:
    outcome = play(phones, tokenizer, replace(troubles(phones.server)[kind], seed=1), count)
    assert not outcome.faults
    assert outcome.endings[Ending.SUCCESS] > count / 3
    assert outcome.slowest < 20
    assert bool(outcome.began) == (kind != HEALTHY) or count < 100  # a killed server is rare
    if kind in GENTLE:
        assert outcome.endings[Ending.INFRASTRUCTURE_FAILURE] <= count // 20
    if kind in ("secure", MIXED) and count >= 100:
        assert outcome.endings[Ending.SECURE_PAGE]


@pytest.mark.parametrize("kind", ROWS)
def test_twenty_episodes_end_with_an_outcome(
    phones: TroubledPhones, tokenizer: PreTrainedTokenizerBase, kind: str
) -> None:
    check(phones, tokenizer, kind, 20)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ROWS)
def test_a_thousand_episodes_end_with_an_outcome(
    phones: TroubledPhones, tokenizer: PreTrainedTokenizerBase, kind: str
) -> None:
    check(phones, tokenizer, kind, 1000)
