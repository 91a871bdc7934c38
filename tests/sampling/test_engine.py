"""The engine answers concurrent requests independently, errors included, refills free slots at once, and compiles no
program twice."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from small_models import FORBIDDEN, SIZES, STOP, SmallPrompt, batch, make_prompt, torch_inputs

from mobile_r1_jax.agent.completion import Completion
from mobile_r1_jax.model.inputs import Prompts, Screens
from mobile_r1_jax.model.logps import token_logps
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.sampling import engine as engine_module
from mobile_r1_jax.sampling.engine import Engine
from mobile_r1_jax.sampling.sampler import Sampling, sample

ROWS, TOKENS, LENGTHS = 4, 6, (32, 64)
GREEDY = Sampling(max_tokens=TOKENS, temperature=0.0, stop_ids=(STOP,), forbidden_ids=FORBIDDEN)
WARM = Sampling(max_tokens=TOKENS, temperature=1.0, stop_ids=(STOP,), forbidden_ids=FORBIDDEN)
UNEVEN = Sampling(max_tokens=16, temperature=1.0, stop_ids=tuple(range(0, 160, 12)), forbidden_ids=FORBIDDEN)


@pytest.fixture(scope="module")
def prompts(tied_pair) -> list[SmallPrompt]:
    shown = (SIZES[:1], (), SIZES, SIZES[1:])
    return [make_prompt(tied_pair.torch, sizes, seed=seed) for seed, sizes in enumerate(shown)]


@pytest.fixture(scope="module")
def too_long(tied_pair) -> SmallPrompt:
    """Return a prompt longer than the only bucket of prompts, which is 64 tokens."""
    return make_prompt(tied_pair.torch, SIZES[:1], tail=80)


@pytest.fixture(scope="module")
def greedy(tied_pair, prompts) -> list[Completion]:
    """Return the sampler's greedy answer to each prompt."""
    inputs = batch(prompts, tied_pair.policy.config.vision, rows=ROWS)
    keys = jax.random.split(jax.random.key(0), ROWS)
    samples = jax.device_get(sample(tied_pair.policy, *inputs, keys, group=1, sampling=GREEDY))
    return [
        Completion(tuple(ids[0][mask[0]].tolist()), tuple(logps[0][mask[0]].tolist()))
        for ids, mask, logps in zip(samples.ids, samples.mask, samples.logps, strict=True)
    ]


@pytest.fixture
def make_engine(tied_pair) -> Callable[..., Engine]:
    def make(sampling: Sampling = GREEDY, gate: threading.Event | None = None, rows: int = ROWS) -> Engine:
        def collate(prompts: Sequence[SmallPrompt], padded: int) -> tuple[Screens, Prompts]:
            if gate is not None:
                gate.wait()
            longest = max(len(prompt.ids) for prompt in prompts)
            length = next(length for length in LENGTHS if length >= longest)
            return batch(list(prompts), tied_pair.policy.config.vision, length=length, rows=padded)

        return Engine(tied_pair.policy, collate, sampling, rows, prompt_buckets=LENGTHS, prefill_rows=(1, 2), chunk=2)

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


def test_concurrent_requests_get_their_own_answers(make_engine, prompts, greedy) -> None:
    asked = [(7 * n) % 4 if n % 3 else 2 for n in range(23)]
    answers = run(make_engine(), all_at_once(*((prompts[which], n) for n, which in enumerate(asked))))
    assert [answer.ids for answer in answers] == [greedy[which].ids for which in asked]
    for answer, which in zip(answers, asked, strict=True):
        np.testing.assert_allclose(answer.logps, greedy[which].logps, atol=1e-4)


def test_later_requests_are_answered(make_engine, prompts, greedy) -> None:
    async def one_after_the_other(engine: Engine) -> list[Completion]:
        return [await engine.sample(prompt, 0) for prompt in prompts]

    engine = make_engine()
    assert [answer.ids for answer in run(engine, one_after_the_other)] == [answer.ids for answer in greedy]


def test_answer_depends_on_its_seed_and_not_on_other_requests(make_engine, prompts) -> None:
    alone = run(make_engine(UNEVEN), all_at_once((prompts[0], 7)))[0]
    crowd = [(prompts[n % 4], n) for n in range(5)]
    answers = run(make_engine(UNEVEN), all_at_once(*crowd, (prompts[0], 7), (prompts[0], 8)))
    assert answers[5].ids == alone.ids != answers[6].ids
    np.testing.assert_allclose(answers[5].logps, alone.logps, rtol=1e-6)


def test_greedy_answers_equal_those_of_transformers_generate(tied_pair, prompts, make_engine) -> None:
    for prompt, answer in zip(prompts, run(make_engine(), all_at_once(*((p, 0) for p in prompts))), strict=True):
        generated = tied_pair.torch.generate(
            **torch_inputs(prompt),
            max_new_tokens=TOKENS,
            do_sample=False,
            pad_token_id=0,
            suppress_tokens=list(FORBIDDEN),
        )
        assert list(answer.ids) == generated[0, len(prompt.ids) :].tolist()


def test_log_probabilities_are_those_that_training_recomputes(tied_pair, prompts, make_engine) -> None:
    asked = [(prompts[n % 4], n) for n in range(12)]
    answers = run(make_engine(UNEVEN), all_at_once(*asked))
    ids, mask, logps = (np.zeros((12, 1, UNEVEN.max_tokens), dtype) for dtype in (np.int32, bool, np.float32))
    for row, answer in enumerate(answers):
        length = len(answer.ids)
        ids[row, 0, :length], mask[row, 0, :length], logps[row, 0, :length] = answer.ids, True, answer.logps

    @jax.jit
    def recomputed(policy: Policy, screens: Screens, rows: Prompts) -> jax.Array:
        hidden = policy.completion_hidden(screens, rows, ids, mask)
        return token_logps(policy, hidden, ids, temperature=UNEVEN.temperature, forbidden=FORBIDDEN)[0]

    inputs = batch([prompt for prompt, _ in asked], tied_pair.policy.config.vision)
    np.testing.assert_allclose(np.where(mask, recomputed(tied_pair.policy, *inputs), 0), logps, atol=1e-4)


def test_requests_with_one_prompt_share_its_prefill_and_equal_the_sampler(tied_pair, make_engine, prompts) -> None:
    async def talk(engine: Engine) -> tuple[list[Completion], Completion]:
        return await asyncio.gather(engine.sample_group(prompts[2], 5, 3), engine.sample(prompts[2], 5))

    engine = make_engine(WARM)
    group, one = run(engine, talk)
    inputs = batch([prompts[2]], tied_pair.policy.config.vision)
    samples = sample(tied_pair.policy, *inputs, jax.random.key(5)[None], group=3, sampling=WARM)
    assert [list(answer.ids) for answer in group] == [
        ids[mask].tolist() for ids, mask in zip(np.asarray(samples.ids[0]), np.asarray(samples.mask[0]), strict=True)
    ]
    assert group[0].ids == one.ids and len({answer.ids for answer in group}) == 3
    usage = engine.usage
    assert (usage.requests, usage.prompts, usage.prefills, usage.completions) == (2, 1, 1, 4)
    assert usage.as_metrics()["prompts_shared"] == 0.5


def test_more_completions_than_slots_are_refused(make_engine, prompts) -> None:
    with pytest.raises(ValueError, match="5 completions of one prompt asked for, the engine has 4 rows"):
        run(make_engine(), lambda engine: engine.sample_group(prompts[0], 0, 5))


def test_short_answer_does_not_wait_for_an_earlier_long_one(make_engine, prompts) -> None:
    seeds = range(24)
    lengths = [len(answer.ids) for answer in run(make_engine(UNEVEN), all_at_once(*((prompts[0], n) for n in seeds)))]
    longest, short = int(np.argmax(lengths)), [n for n in seeds if lengths[n] <= 4]
    assert lengths[longest] == UNEVEN.max_tokens and len(short) >= ROWS + 1
    order: list[int] = []

    async def ask(engine: Engine, seed: int) -> None:
        await engine.sample(prompts[0], seed)
        order.append(seed)

    run(make_engine(UNEVEN), lambda engine: asyncio.gather(*(ask(engine, n) for n in (longest, *short[: ROWS + 1]))))
    assert order[-1] == longest and set(order) == {longest, *short[: ROWS + 1]}


def test_nothing_is_compiled_after_every_shape_occurred(make_engine, prompts) -> None:
    asked = [(prompts[which], n) for n, which in enumerate((0, 2, 3, 0, 0, 3, 2, 0, 3, 3, 0, 2))]
    compiled: list[str] = []

    def listen(event: str, seconds: float, **about: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    async def twice(engine: Engine, together: tuple[int, ...]) -> None:
        for _ in range(2):  # the second time, long prompts are cached
            await all_at_once(*((prompts[which], 0) for which in together))(engine)

    async def talk(engine: Engine) -> None:
        for start in range(len(asked)):
            await all_at_once(*asked[start:])(engine)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for together in ((0,), (2,), (0, 0), (2, 2), (2, 3), (2, 2, 3, 3)):
            run(make_engine(UNEVEN, rows=5), lambda engine, together=together: twice(engine, together))
        warmed_up = len(compiled)
        for talking in (talk, all_at_once(*asked)):
            run(make_engine(UNEVEN, rows=5), talking)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(compiled) == warmed_up >= 13  # the empty slots; ten programs to fill them; two to decode


def beginning_of(prompt: SmallPrompt) -> SmallPrompt:
    """Return the prompt up to the text after its first screen."""
    until = int(np.flatnonzero(np.diff((prompt.image_index >= 0).astype(int)) < 0)[0]) + 5
    return replace(
        prompt,
        ids=prompt.ids[:until],
        positions=prompt.positions[:, :until],
        image_index=prompt.image_index[:until],
        screenshots=prompt.screenshots[:1],
        sizes=prompt.sizes[:1],
    )


def test_cached_prefix_of_a_prompt_is_not_computed_again(make_engine, prompts, greedy) -> None:
    first = beginning_of(prompts[2])

    async def talk(engine: Engine) -> tuple[Completion, Completion]:
        await engine.sample(first, 0)
        await engine.sample(prompts[0], 0)  # this prompt shares no prefix
        return await engine.sample(prompts[2], 0), await engine.sample(prompts[2], 0)

    engine = make_engine()
    for answer in run(engine, talk):
        assert answer.ids == greedy[2].ids
        np.testing.assert_allclose(answer.logps, greedy[2].logps, atol=1e-5)
    asked = [len(first.ids), len(prompts[0].ids), len(prompts[2].ids), len(prompts[2].ids)]
    assert engine.usage.prompt_tokens == sum(asked)
    # The second time computes only the last token, which predicts the answer.
    assert engine.usage.prompt_tokens_kept == len(first.ids) + len(prompts[2].ids) - 1
    assert engine.usage.as_metrics()["prompt_tokens_kept"] == engine.usage.prompt_tokens_kept / sum(asked)


@pytest.mark.parametrize("rows", [1, *(pytest.param(rows, marks=pytest.mark.slow) for rows in (2, 3))])
def test_reused_slot_is_not_used_as_a_prefix(make_engine, prompts, greedy, rows) -> None:
    first, order = beginning_of(prompts[2]), (2, 3, 2, 0, 3, 1, 2, 3)

    async def talk(engine: Engine) -> list[Completion]:
        answers = []
        for which in order:
            asked = [(first, 0), (prompts[which], 0), (prompts[2], 0)]
            answers.append((await all_at_once(*asked)(engine))[1])
        return answers

    answers = run(make_engine(rows=rows), talk)
    assert [answer.ids for answer in answers] == [greedy[which].ids for which in order]


def test_new_policy_computes_every_prompt_again(tied_pair, make_engine, prompts) -> None:
    other = jax.tree.map(lambda weights: weights * 1.1, tied_pair.policy)

    async def talk(engine: Engine) -> Completion:
        await engine.sample(prompts[2], 0)
        engine.policy = other
        return await engine.sample(prompts[2], 0)

    engine = make_engine()
    answer = run(engine, talk)
    inputs = batch([prompts[2]], other.config.vision)
    samples = sample(other, *inputs, jax.random.key(0)[None], group=1, sampling=GREEDY)
    assert list(answer.ids) == samples.ids[0, 0][samples.mask[0, 0]].tolist()
    assert engine.usage.prompt_tokens_kept == 0


def test_answer_ends_at_a_stop_token_or_the_limit_with_one_log_probability_per_token(make_engine, prompts) -> None:
    for answer in run(make_engine(WARM), all_at_once(*((prompts[n % 4], n) for n in range(8)))):
        assert 1 <= len(answer.ids) == len(answer.logps) <= TOKENS
        assert len(answer.ids) == TOKENS or answer.ids[-1] == STOP
        assert all(logp <= 0 for logp in answer.logps)


def test_too_long_prompt_is_an_error_of_its_own_request_only(make_engine, prompts, greedy, too_long) -> None:
    answers = run(make_engine(), all_at_once((prompts[0], 0), (too_long, 0), (prompts[1], 0), errors=True))
    assert [answers[0].ids, answers[2].ids] == [greedy[0].ids, greedy[1].ids]
    assert isinstance(answers[1], ValueError) and "declare a larger one" in str(answers[1])


def test_engine_continues_after_an_error(make_engine, prompts, greedy, too_long) -> None:
    async def talk(engine: Engine) -> Completion:
        with pytest.raises(ValueError, match="largest declared bucket is 64"):
            await engine.sample(too_long, 0)
        return await engine.sample(prompts[0], 0)

    assert run(make_engine(), talk).ids == greedy[0].ids


def test_device_failure_ends_running_requests_and_the_engine_continues(
    make_engine, prompts, greedy, monkeypatch
) -> None:
    async def talk(engine: Engine) -> tuple[list, Completion]:
        with monkeypatch.context() as broken:
            broken.setattr(engine_module, "decode", fail)
            failures = await all_at_once((prompts[0], 0), (prompts[1], 0), errors=True)(engine)
        return failures, await engine.sample(prompts[1], 0)

    def fail(*arguments: object, **settings: object) -> None:
        raise RuntimeError("out of memory")

    failures, answer = run(make_engine(), talk)
    assert [str(error) for error in failures] == ["out of memory"] * 2
    assert answer.ids == greedy[1].ids


def test_implicit_transfers_from_the_host_are_errors(make_engine, prompts, monkeypatch) -> None:
    def careless(policy: Policy, slots: object, wanted: jax.Array, *rest: object, **settings: object) -> None:
        assert isinstance(wanted, jax.Array)
        jax.jit(jax.numpy.sum)(np.ones(3))

    monkeypatch.setattr(engine_module, "decode", careless)
    (failures,) = run(make_engine(), all_at_once((prompts[0], 0), errors=True))
    assert "Disallowed host-to-device transfer" in str(failures)


def test_cancelled_request_affects_no_other_and_is_not_computed(make_engine, prompts, greedy) -> None:
    async def talk(engine: Engine) -> list[Completion]:
        given_up = [asyncio.create_task(engine.sample(prompt, 0)) for prompt in prompts]
        kept = [asyncio.create_task(engine.sample(prompt, 0)) for prompt in prompts[:2]]
        await asyncio.sleep(0)
        for task in given_up:
            task.cancel()
        return await asyncio.gather(*kept)

    engine = make_engine()
    assert [answer.ids for answer in run(engine, talk)] == [answer.ids for answer in greedy[:2]]
    assert engine.usage.completions == 2


def test_request_cancelled_during_sampling_affects_no_other(make_engine, prompts, greedy) -> None:
    gate = threading.Event()

    async def talk(engine: Engine) -> list[Completion]:
        tasks = [asyncio.create_task(engine.sample(prompt, 0)) for prompt in prompts]
        await asyncio.sleep(0.02)
        tasks[0].cancel()
        gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = run(make_engine(gate=gate), talk)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [answer.ids for answer in answers[1:]] == [answer.ids for answer in greedy[1:]]


def test_open_requests_end_when_the_engine_closes(make_engine, prompts) -> None:
    gate = threading.Event()

    async def leave() -> list:
        async with make_engine(gate=gate) as engine:
            tasks = [asyncio.create_task(engine.sample(prompts[n % 4], n)) for n in range(2 * ROWS)]
            await asyncio.sleep(0.02)
        gate.set()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)

    assert all(isinstance(answer, asyncio.CancelledError) for answer in asyncio.run(leave()))


def test_metrics_count_slot_use_and_tokens(make_engine, prompts) -> None:
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


def test_idle_engine_has_finite_metrics(make_engine) -> None:
    assert set(make_engine().usage.as_metrics().values()) == {0.0}
