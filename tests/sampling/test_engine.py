"""The engine: many requests at once, each with its own answer, its own error, and no say in anybody else's."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import jax
import numpy as np
import pytest
from small_models import FORBIDDEN, SIZES, STOP, SmallPrompt, batch, make_prompt

from mobile_r1_jax.model.inputs import Prompts, Screens
from mobile_r1_jax.sampling.engine import Engine, Sampled
from mobile_r1_jax.sampling.sampler import Sampling, sample

ROWS, TOKENS, LENGTHS = 4, 6, (32, 64)
GREEDY = Sampling(max_tokens=TOKENS, temperature=0.0, stop_ids=(STOP,), forbidden_ids=FORBIDDEN)
WARM = Sampling(max_tokens=TOKENS, temperature=1.0, stop_ids=(STOP,), forbidden_ids=FORBIDDEN)


@pytest.fixture(scope="module")
def prompts(tied_pair) -> list[SmallPrompt]:
    shown = (SIZES[:1], (), SIZES, SIZES[1:])
    return [make_prompt(tied_pair.torch, sizes, seed=seed) for seed, sizes in enumerate(shown)]


@pytest.fixture(scope="module")
def too_long(tied_pair) -> SmallPrompt:
    """Longer than the only bucket of prompts, which is 64 tokens."""
    return make_prompt(tied_pair.torch, SIZES[:1], tail=80)


@pytest.fixture(scope="module")
def greedy(tied_pair, prompts) -> list[Sampled]:
    """What each prompt is answered greedily, by the sampler itself."""
    inputs = batch(prompts, tied_pair.policy.config.vision, rows=ROWS)
    keys = jax.random.split(jax.random.key(0), ROWS)
    samples = jax.device_get(sample(tied_pair.policy, *inputs, keys, group=1, sampling=GREEDY))
    return [
        Sampled(tuple(ids[0][mask[0]].tolist()), tuple(logps[0][mask[0]].tolist()))
        for ids, mask, logps in zip(samples.ids, samples.mask, samples.logps, strict=True)
    ]


@pytest.fixture
def make_engine(tied_pair) -> Callable[..., Engine]:
    def make(sampling: Sampling = GREEDY, gate: threading.Event | None = None) -> Engine:
        def collate(prompts: Sequence[SmallPrompt], rows: int) -> tuple[Screens, Prompts]:
            if gate is not None:
                gate.wait()
            longest = max(len(prompt.ids) for prompt in prompts)
            length = next(length for length in LENGTHS if length >= longest)
            return batch(list(prompts), tied_pair.policy.config.vision, length=length, rows=rows)

        return Engine(tied_pair.policy, collate, sampling, ROWS, prompt_buckets=LENGTHS, prefill_rows=(1, 2), chunk=2)

    return make


def run(engine: Engine, talk: Callable[[Engine], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        async with engine:
            return await asyncio.wait_for(talk(engine), 120)

    return asyncio.run(inside())


def all_at_once(*requests: tuple[SmallPrompt, int], errors: bool = False) -> Callable[[Engine], Awaitable[list]]:
    return lambda engine: asyncio.gather(
        *(engine.sample(prompt, seed) for prompt, seed in requests), return_exceptions=errors
    )


def test_many_requests_at_once_get_each_its_own_answer(make_engine, prompts, greedy) -> None:
    asked = [(7 * n) % 4 if n % 3 else 2 for n in range(23)]
    answers = run(make_engine(), all_at_once(*((prompts[which], n) for n, which in enumerate(asked))))
    assert [answer.ids for answer in answers] == [greedy[which].ids for which in asked]
    for answer, which in zip(answers, asked, strict=True):
        np.testing.assert_allclose(answer.logps, greedy[which].logps, atol=1e-4)


def test_requests_that_come_later_are_answered_too(make_engine, prompts, greedy) -> None:
    async def one_after_the_other(engine: Engine) -> list[Sampled]:
        return [await engine.sample(prompt, 0) for prompt in prompts]

    engine = make_engine()
    assert [answer.ids for answer in run(engine, one_after_the_other)] == [answer.ids for answer in greedy]


def test_an_answer_depends_on_its_seed_and_not_on_its_company(make_engine, prompts) -> None:
    alone = run(make_engine(WARM), all_at_once((prompts[0], 7)))[0]
    crowd = [(prompts[n % 4], n) for n in range(5)]
    answers = run(make_engine(WARM), all_at_once(*crowd, (prompts[0], 7), (prompts[0], 8)))
    assert answers[5].ids == alone.ids != answers[6].ids


def test_an_answer_ends_with_the_stop_token_or_at_the_limit_and_has_a_log_probability_a_token(
    make_engine, prompts
) -> None:
    for answer in run(make_engine(WARM), all_at_once(*((prompts[n % 4], n) for n in range(8)))):
        assert 1 <= len(answer.ids) == len(answer.logps) <= TOKENS
        assert len(answer.ids) == TOKENS or answer.ids[-1] == STOP
        assert all(logp <= 0 for logp in answer.logps)


def test_a_prompt_too_long_is_the_error_of_whoever_asked_and_of_nobody_else(
    make_engine, prompts, greedy, too_long
) -> None:
    answers = run(make_engine(), all_at_once((prompts[0], 0), (too_long, 0), (prompts[1], 0), errors=True))
    assert [answers[0].ids, answers[2].ids] == [greedy[0].ids, greedy[1].ids]
    assert isinstance(answers[1], ValueError) and "declare a larger one" in str(answers[1])


def test_an_engine_goes_on_after_an_error(make_engine, prompts, greedy, too_long) -> None:
    async def talk(engine: Engine) -> Sampled:
        with pytest.raises(ValueError, match="largest declared bucket is 64"):
            await engine.sample(too_long, 0)
        return await engine.sample(prompts[0], 0)

    assert run(make_engine(), talk).ids == greedy[0].ids


def test_a_cancelled_request_harms_nobody_and_costs_nothing(make_engine, prompts, greedy) -> None:
    async def talk(engine: Engine) -> list[Sampled]:
        given_up = [asyncio.create_task(engine.sample(prompt, 0)) for prompt in prompts]
        kept = [asyncio.create_task(engine.sample(prompt, 0)) for prompt in prompts[:2]]
        await asyncio.sleep(0)
        for task in given_up:
            task.cancel()
        return await asyncio.gather(*kept)

    engine = make_engine()
    assert [answer.ids for answer in run(engine, talk)] == [answer.ids for answer in greedy[:2]]
    assert engine.usage.completions == 2


def test_a_request_cancelled_while_it_is_sampled_harms_nobody(make_engine, prompts, greedy) -> None:
    gate = threading.Event()

    async def talk(engine: Engine) -> list[Sampled]:
        tasks = [asyncio.create_task(engine.sample(prompt, 0)) for prompt in prompts]
        await asyncio.sleep(0.02)
        tasks[0].cancel()
        gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = run(make_engine(gate=gate), talk)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [answer.ids for answer in answers[1:]] == [answer.ids for answer in greedy[1:]]


def test_requests_open_when_the_engine_is_left_do_not_wait_for_ever(make_engine, prompts) -> None:
    gate = threading.Event()

    async def leave() -> list:
        async with make_engine(gate=gate) as engine:
            tasks = [asyncio.create_task(engine.sample(prompts[n % 4], n)) for n in range(2 * ROWS)]
            await asyncio.sleep(0.02)
        gate.set()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)

    assert all(isinstance(answer, asyncio.CancelledError) for answer in asyncio.run(leave()))


def test_the_use_of_rows_and_the_tokens_are_counted(make_engine, prompts) -> None:
    engine = make_engine()
    answers = run(engine, all_at_once(*((prompts[n % 4], n) for n in range(6))))
    usage = engine.usage
    lengths = [len(answer.ids) for answer in answers]
    assert (usage.completions, usage.tokens, usage.requests) == (6, sum(lengths), 6)
    assert usage.row_steps_used == usage.tokens - 6 < usage.row_steps  # first tokens come with the prompts
    metrics = usage.as_metrics()
    assert metrics["row_use"] == usage.row_steps_used / usage.row_steps
    assert metrics["tokens_per_second"] == pytest.approx(usage.tokens / usage.sampling_seconds)
    assert metrics["queue_seconds"] > 0 and metrics["chunks"] == usage.chunks >= (max(lengths) - 1) / 2


def test_an_engine_that_did_nothing_has_finite_metrics(make_engine) -> None:
    assert set(make_engine().usage.as_metrics().values()) == {0.0}
