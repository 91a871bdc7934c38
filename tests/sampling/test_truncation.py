"""Top-p and top-k: cut tokens are never drawn, the rest keeps its proportions, and both log-probabilities are given."""

import asyncio
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import FORBIDDEN, SIZES, SmallPrompt, batch, make_prompt

from mobile_r1_jax.agent.completion import Completion
from mobile_r1_jax.model.inputs import Prompts, Screens
from mobile_r1_jax.model.logps import token_logps
from mobile_r1_jax.sampling.engine import Engine
from mobile_r1_jax.sampling.sampler import Samples, Sampling, draw, sample
from mobile_r1_jax.sampling.truncation import truncate

TOKENS, GROUP, TEMPERATURE = 8, 6, 0.8
WHOLE = Sampling(TOKENS, TEMPERATURE, stop_ids=tuple(range(0, 160, 20)), forbidden_ids=FORBIDDEN)
CUTS = [{"top_p": 0.6}, {"top_k": 5}, {"top_p": 0.7, "top_k": 12}]


@pytest.fixture(scope="module")
def prompts(tied_pair) -> list[SmallPrompt]:
    return [make_prompt(tied_pair.torch, sizes, seed=seed) for seed, sizes in enumerate((SIZES[:1], ()))]


@pytest.fixture(scope="module")
def inputs(tied_pair, prompts) -> tuple[Screens, Prompts]:
    return batch(prompts, tied_pair.policy.config.vision)


def drawn(pair: object, inputs: tuple[Screens, Prompts], sampling: Sampling, group: int = GROUP) -> Samples:
    keys = jax.vmap(jax.random.key)(jnp.arange(2, dtype=jnp.uint32))
    return jax.device_get(sample(pair.policy, *inputs, keys, group=group, sampling=sampling))


def restated(probabilities: np.ndarray, top_p: float = 1.0, top_k: int | None = None) -> np.ndarray:
    """Return one truncated distribution [V], token by token."""
    likeliest, mass, kept = np.argsort(-probabilities)[:top_k], 0.0, np.zeros_like(probabilities)
    for token in likeliest:
        if mass < top_p:
            kept[token] = probabilities[token]
        mass += probabilities[token] / probabilities[likeliest].sum()
    return kept / kept.sum()


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


@pytest.mark.parametrize("cut", [*CUTS, {"top_k": 1}, {"top_k": 400}, {"top_p": 1e-6}, {"top_p": 0.999}])
def test_kept_tokens_and_their_probabilities_equal_a_numpy_reference(cut) -> None:
    logits = np.random.default_rng(0).normal(scale=3, size=(5, 7, 64)).astype(np.float32)
    kept = softmax(np.asarray(truncate(logits, **({"top_p": 1.0, "top_k": None} | cut)), np.float64))
    for at in np.ndindex(5, 7):
        np.testing.assert_allclose(kept[at], restated(softmax(logits[at].astype(np.float64)), **cut), atol=1e-6)


@pytest.mark.parametrize(("top_p", "kept"), [(0.1, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.76, 4), (1.0, 4)])
def test_nucleus_is_the_smallest_set_with_the_mass_and_keeps_ties(top_p: float, kept: int) -> None:
    logits = jnp.log(jnp.array([0.125, 0.5, 0.125, 0.25]))
    assert (truncate(logits, top_p=top_p, top_k=None) > -100).sum() == kept


@pytest.mark.parametrize("cut", CUTS)
def test_only_kept_tokens_are_drawn_with_their_stated_probability(tied_pair, inputs, cut) -> None:
    count = 8192
    samples = drawn(tied_pair, inputs, replace(WHOLE, max_tokens=1, **cut), group=count)
    hidden, _ = tied_pair.policy.prefill(*inputs, group=1, max_tokens=1)
    logits = np.asarray(tied_pair.policy.text.logits(hidden), np.float64)
    logits[:, FORBIDDEN] = -np.inf
    for row in range(2):
        expected = count * restated(softmax(logits[row] / TEMPERATURE), **cut)
        seen = np.bincount(samples.ids[row].ravel(), minlength=160)
        possible = expected > 0
        assert 1 < possible.sum() < 100 and not seen[~possible].any()
        # Chi-square: the mean is the degrees of freedom, the variance twice that; the limit is five deviations.
        freedom = possible.sum() - 1
        square = ((seen - expected)[possible] ** 2 / expected[possible]).sum()
        assert square < freedom + 5 * np.sqrt(2 * freedom)
        estimates = count * np.exp(samples.truncated_logps[row, :, 0])
        np.testing.assert_allclose(estimates, expected[samples.ids[row, :, 0]], rtol=1e-4)


@pytest.mark.parametrize("cut", CUTS)
def test_full_log_probabilities_equal_training_and_truncated_ones_are_returned_too(tied_pair, inputs, cut) -> None:
    samples = drawn(tied_pair, inputs, replace(WHOLE, **cut))
    hidden = tied_pair.policy.completion_hidden(*inputs, samples.ids, samples.mask)
    whole, _ = token_logps(tied_pair.policy, hidden, samples.ids, temperature=TEMPERATURE, forbidden=FORBIDDEN)
    np.testing.assert_allclose(samples.logps, np.where(samples.mask, whole, 0), atol=1e-4)
    logits = np.asarray(tied_pair.policy.text.logits(hidden), np.float64)
    logits[..., FORBIDDEN] = -np.inf
    for at in np.argwhere(samples.mask):
        at = tuple(at)
        expected = np.log(restated(softmax(logits[at] / TEMPERATURE), **cut)[samples.ids[at]])
        assert samples.truncated_logps[at] == pytest.approx(expected, abs=1e-4)
    assert (samples.truncated_logps[samples.mask] > samples.logps[samples.mask]).all()
    assert not samples.truncated_logps[~samples.mask].any() and not samples.mask.all()


def test_engine_and_sampler_give_the_same_tokens_and_log_probabilities(tied_pair, prompts, inputs) -> None:
    cut = replace(WHOLE, top_p=0.7, top_k=12)

    async def answers() -> list[list[Completion]]:
        def collate(some: list[SmallPrompt], rows: int) -> tuple[Screens, Prompts]:
            return batch(list(some), tied_pair.policy.config.vision, rows=rows)

        async with Engine(tied_pair.policy, collate, cut, rows=8, prompt_buckets=(64,), chunk=3) as engine:
            return [await engine.sample_group(prompt, seed, GROUP) for seed, prompt in enumerate(prompts)]

    samples = drawn(tied_pair, inputs, cut)
    for row, group in enumerate(asyncio.run(answers())):
        for member, answer in enumerate(group):
            at = row, member, samples.mask[row, member]
            assert list(answer.ids) == samples.ids[at].tolist()
            np.testing.assert_allclose(answer.logps, samples.logps[at], atol=1e-4)
            np.testing.assert_allclose(answer.truncated_logps, samples.truncated_logps[at], atol=1e-4)


@pytest.mark.parametrize("cut", CUTS)
def test_truncation_does_not_change_greedy_sampling(tied_pair, inputs, cut) -> None:
    greedy = replace(WHOLE, temperature=0.0)
    as_it_was, truncated = drawn(tied_pair, inputs, greedy), drawn(tied_pair, inputs, replace(greedy, **cut))
    np.testing.assert_array_equal(truncated.ids, as_it_was.ids)
    np.testing.assert_allclose(truncated.logps, as_it_was.logps, atol=1e-6)


def test_disabled_truncation_adds_no_computation(tied_pair) -> None:
    policy, rows = tied_pair.policy, 2
    hidden, uniform = jnp.zeros((rows, policy.config.text.width)), jnp.zeros(rows)

    def program(sampling: Sampling) -> str:
        return str(jax.make_jaxpr(draw)(policy, hidden, uniform, sampling))

    def sums(sampling: Sampling) -> int:
        return program(sampling).count("cumsum[")

    assert "top_k" in program(replace(WHOLE, top_p=0.9)) and sums(replace(WHOLE, top_p=0.9)) > sums(WHOLE)
    assert "top_k" in program(replace(WHOLE, top_k=3)) and sums(replace(WHOLE, top_k=3)) == sums(WHOLE)
    assert not {"top_k", "sort"} & set(program(WHOLE).replace("[", " ").split())
    assert program(replace(WHOLE, top_p=1.0, top_k=None)) == program(WHOLE)
    assert draw(policy, hidden, uniform, WHOLE).truncated_logps is None


@pytest.mark.parametrize(
    ("cut", "said"),
    [
        ({"top_p": 0.0}, "top_p is 0.0; it must be above 0 and at most 1"),
        ({"top_p": 1.01}, "top_p is 1.01"),
        ({"top_p": float("nan")}, "top_p is nan"),
        ({"top_k": 0}, "top_k is 0; it must be at least 1"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(cut, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Sampling(**cut)
