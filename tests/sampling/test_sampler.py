"""Samples: greedy ones equal transformers.generate, log-probabilities equal training; stop and forbidden tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import FORBIDDEN, SIZES, STOP, SmallPrompt, batch, make_prompt, torch_inputs

from mobile_r1_jax.model.inputs import Prompts, Screens
from mobile_r1_jax.model.logps import token_logps
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.sampling.sampler import Samples, Sampling, sample, sample_inverse_cdf

TOKENS = 12
GREEDY = Sampling(max_tokens=TOKENS, temperature=0.0, stop_ids=(STOP,), forbidden_ids=FORBIDDEN)
WARM = Sampling(max_tokens=TOKENS, temperature=0.7, stop_ids=tuple(range(0, 160, 16)), forbidden_ids=FORBIDDEN)
GROUP = 8
KEYS = jax.random.split(jax.random.key(0), 4)  # one for each row of `inputs`


@pytest.fixture(scope="module")
def prompts(tied_pair) -> list[SmallPrompt]:
    """Return a prompt with one image, one of text alone, and one with two images."""
    return [make_prompt(tied_pair.torch, sizes, seed=seed) for seed, sizes in enumerate((SIZES[:1], (), SIZES))]


@pytest.fixture(scope="module")
def inputs(tied_pair, prompts) -> tuple[Screens, Prompts]:
    """Return the three prompts and a row of padding."""
    return batch(prompts, tied_pair.policy.config.vision, rows=4)


@pytest.fixture(scope="module")
def warm(tied_pair, inputs) -> Samples:
    return sample(tied_pair.policy, *inputs, KEYS, group=GROUP, sampling=WARM)


@pytest.fixture(scope="module")
def greedy(tied_pair, inputs) -> Samples:
    return sample(tied_pair.policy, *inputs, KEYS, group=2, sampling=GREEDY)


@jax.jit
def hidden_of(policy: Policy, screens: Screens, prompts: Prompts, samples: Samples) -> jax.Array:
    return policy.completion_hidden(screens, prompts, samples.ids, samples.mask)


def test_greedy_samples_equal_those_of_transformers_generate(tied_pair, prompts, greedy) -> None:
    for b, prompt in enumerate(prompts):
        generated = tied_pair.torch.generate(
            **torch_inputs(prompt),
            max_new_tokens=TOKENS,
            do_sample=False,
            pad_token_id=0,
            suppress_tokens=list(FORBIDDEN),
        )[0, len(prompt.ids) :].numpy()
        for g in range(2):
            np.testing.assert_array_equal(greedy.ids[b, g][greedy.mask[b, g]], generated)


def test_log_probabilities_are_those_that_training_recomputes(tied_pair, inputs, warm) -> None:
    hidden = hidden_of(tied_pair.policy, *inputs, warm)
    logps, _ = token_logps(
        tied_pair.policy, hidden, warm.ids, temperature=WARM.temperature, forbidden=WARM.forbidden_ids
    )
    np.testing.assert_allclose(np.where(warm.mask, logps, 0), warm.logps, atol=1e-4)


def test_log_probabilities_of_greedy_samples_are_those_at_temperature_one(tied_pair, inputs, greedy) -> None:
    hidden = hidden_of(tied_pair.policy, *inputs, greedy)
    logps, _ = token_logps(tied_pair.policy, hidden, greedy.ids, forbidden=FORBIDDEN)
    np.testing.assert_allclose(np.where(greedy.mask, logps, 0), greedy.logps, atol=1e-4)


def test_completion_ends_with_its_first_stop_token_inside_the_mask(warm) -> None:
    ids, mask = np.asarray(warm.ids[:3]).reshape(-1, TOKENS), np.asarray(warm.mask[:3]).reshape(-1, TOKENS)
    stopped = 0
    for row, valid in zip(ids, mask, strict=True):
        length = valid.sum()
        assert valid[:length].all() and length > 0
        assert not np.isin(row[: length - 1], WARM.stop_ids).any()
        assert length == TOKENS or row[length - 1] in WARM.stop_ids
        assert (row[length:] == 0).all()
        stopped += length < TOKENS
    assert stopped > 0


def test_group_members_differ_and_another_key_gives_other_samples(tied_pair, inputs, warm) -> None:
    assert len(np.unique(np.asarray(warm.ids[0]), axis=0)) > GROUP // 2
    again = sample(tied_pair.policy, *inputs, KEYS, group=GROUP, sampling=WARM)
    np.testing.assert_array_equal(again.ids, warm.ids)
    other = sample(tied_pair.policy, *inputs, jax.random.split(jax.random.key(1), 4), group=GROUP, sampling=WARM)
    assert (np.asarray(other.ids) != np.asarray(warm.ids)).any()


def test_padding_row_samples_nothing_and_affects_no_other_row(tied_pair, prompts, greedy, warm) -> None:
    assert not warm.mask[3].any() and not warm.ids[3].any() and not warm.logps[3].any()
    without = batch(prompts, tied_pair.policy.config.vision, rows=3)
    np.testing.assert_array_equal(
        sample(tied_pair.policy, *without, KEYS[:3], group=2, sampling=GREEDY).ids, greedy.ids[:3]
    )


def test_samples_depend_on_their_own_key_and_not_on_other_rows(tied_pair, prompts, warm) -> None:
    backwards = batch(prompts[::-1], tied_pair.policy.config.vision, rows=4)
    keys = KEYS[jax.numpy.array([2, 1, 0, 3])]
    samples = sample(tied_pair.policy, *backwards, keys, group=GROUP, sampling=WARM)
    np.testing.assert_array_equal(samples.ids[:3], warm.ids[:3][::-1])


def test_forbidden_tokens_are_never_sampled_and_the_rest_is_renormalised(tied_pair, inputs) -> None:
    allowed = tuple(range(5))
    few = Sampling(max_tokens=TOKENS, temperature=3.0, forbidden_ids=tuple(range(5, 160)))
    samples = sample(tied_pair.policy, *inputs, KEYS, group=GROUP, sampling=few)
    assert np.isin(samples.ids, allowed).all()
    hidden = hidden_of(tied_pair.policy, *inputs, samples)[:3]
    logits = np.asarray(tied_pair.policy.text.logits(hidden))[..., :5] / 3.0
    logps = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = np.take_along_axis(logps, np.asarray(samples.ids[:3])[..., None], -1)[..., 0]
    np.testing.assert_allclose(samples.logps[:3], expected, atol=1e-4)


def test_sampled_tokens_follow_the_returned_log_probabilities(tied_pair, inputs) -> None:
    one = Sampling(max_tokens=1, temperature=0.5, forbidden_ids=tuple(range(6, 160)))
    samples = sample(tied_pair.policy, *inputs, KEYS, group=4096, sampling=one)
    ids, logps = np.asarray(samples.ids[0, :, 0]), np.asarray(samples.logps[0, :, 0])
    for token in np.unique(ids):
        probability = float(np.exp(logps[ids == token][0]))
        assert abs((ids == token).mean() - probability) < 4 * np.sqrt(probability * (1 - probability) / 4096) + 1e-3


@pytest.mark.parametrize("vocabulary", [5, 128, 1000])
def test_inverse_cdf_returns_the_first_token_whose_cumulative_probability_exceeds_u(vocabulary: int) -> None:
    rng = np.random.default_rng(vocabulary)
    allowed = rng.random(vocabulary) < 0.5
    allowed[vocabulary // 2] = True
    logits = np.where(allowed, 3 * rng.normal(size=vocabulary), -1e30).astype(np.float32)
    uniform = np.concatenate([[0.0, 1 - 2**-23], np.linspace(0, 1, 4000, endpoint=False)]).astype(np.float32)
    rows = jnp.broadcast_to(logits, (len(uniform), vocabulary))
    tokens = np.asarray(sample_inverse_cdf(rows, jnp.asarray(uniform), greedy=jnp.asarray(False)))
    assert allowed[tokens].all()
    probabilities = np.exp(logits.astype(np.float64) - np.log(np.exp(logits.astype(np.float64)).sum()))
    passed = np.cumsum(probabilities)[tokens]
    assert (passed >= uniform - 1e-6).all() and (passed - probabilities[tokens] <= uniform + 1e-6).all()


def test_greedy_sampling_takes_the_first_of_the_most_likely_tokens() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 300)).astype(np.float32)
    logits[::2, 130] = logits[::2, 280] = 9.0
    tokens = sample_inverse_cdf(jnp.asarray(logits), jnp.linspace(0, 0.999, 50), greedy=jnp.asarray(True))
    np.testing.assert_array_equal(tokens, logits.argmax(-1))
    assert (np.asarray(tokens)[::2] == 130).all()


def test_decoding_ends_when_every_row_has_stopped(tied_pair, inputs) -> None:
    """If every token is a stop token, a long limit gives the samples of a limit of one, at the same cost."""
    everything = tuple(range(160))
    samples = sample(
        tied_pair.policy, *inputs, KEYS, group=2, sampling=Sampling(max_tokens=20_000, stop_ids=everything)
    )
    assert samples.mask.sum() == 6 and samples.mask[:3, :, 0].all()
