"""New adapters change nothing. Training, sampling and, after merging, `transformers` compute the same function."""

import asyncio
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from small_models import FORBIDDEN, SIZES, STOP, SmallPrompt, batch, make_prompt, torch_inputs
from transformers import Qwen2_5_VLForConditionalGeneration

from mobile_r1_jax.model.checkpoints.huggingface import load_policy, save_policy
from mobile_r1_jax.model.inputs import Prompts, Screens
from mobile_r1_jax.model.logps import token_logps
from mobile_r1_jax.model.lora import adapter_shapes, adapters_of, with_adapters
from mobile_r1_jax.model.lora_settings import PROJECTIONS, LoRA
from mobile_r1_jax.model.policy import Policy, to_compute_dtype
from mobile_r1_jax.sampling.engine import Engine
from mobile_r1_jax.sampling.sampler import Samples, Sampling, sample

SETTINGS = LoRA(rank=3, alpha=6)
COMPLETION = np.array([3, 1, 4, 1, 5], np.int32)
WARM = Sampling(max_tokens=6, stop_ids=(STOP,), forbidden_ids=FORBIDDEN)


def adapted(policy: Policy, settings: LoRA = SETTINGS, *, size: float = 0.1) -> Policy:
    """Return the policy with random adapters: neither of their matrices is zero."""
    policy = with_adapters(policy, settings, key=jax.random.key(1))
    learnt = jax.tree.map(
        lambda leaf: leaf + size * jax.random.normal(jax.random.key(2), leaf.shape), nnx.state(policy, nnx.LoRAParam)
    )
    nnx.update(policy, learnt)
    return policy


@jax.jit
def completion_logits(policy: Policy, screens: Screens, prompts: Prompts, ids: jax.Array) -> jax.Array:
    hidden = policy.completion_hidden(screens, prompts, ids[None, None], jnp.ones((1, 1, *ids.shape), bool))
    return policy.text.logits(hidden)[0, 0]


def logits_of(policy: Policy, prompt: SmallPrompt) -> np.ndarray:
    return np.asarray(completion_logits(policy, *batch([prompt], policy.config.vision), COMPLETION))


def torch_logits(model: torch.nn.Module, prompt: SmallPrompt) -> np.ndarray:
    with torch.no_grad():
        return model(**torch_inputs(prompt, COMPLETION)).logits[0, -len(COMPLETION) - 1 : -1].numpy()


@pytest.fixture(scope="module")
def prompt(tied_pair) -> SmallPrompt:
    return make_prompt(tied_pair.torch, SIZES)


def test_new_adapters_leave_all_logits_bit_by_bit(pair, prompt) -> None:
    policy = with_adapters(pair.policy, SETTINGS, key=jax.random.key(0))
    np.testing.assert_array_equal(logits_of(policy, prompt), logits_of(pair.policy, prompt))


def test_policy_with_adapters_shares_unchanged_weights_with_its_base(tied_pair) -> None:
    policy = with_adapters(tied_pair.policy, SETTINGS, key=jax.random.key(0))
    assert policy.text.layers.q.kernel[...] is tied_pair.policy.text.layers.q.kernel[...]
    assert not adapters_of(tied_pair.policy) and set(adapters_of(policy)) == set(PROJECTIONS.values())


def test_settings_determine_places_and_sizes_of_adapters(tied_pair) -> None:
    policy = with_adapters(tied_pair.policy, LoRA(rank=5, projections=("v", "down")), key=jax.random.key(0))
    assert {path: (a.shape, b.shape) for path, (a, b, _) in adapters_of(policy).items()} == {
        "text.layers.v": ((3, 64, 5), (3, 5, 32)),
        "text.layers.feed_forward.down": ((3, 96, 5), (3, 5, 64)),
    }
    shapes = adapter_shapes(policy.config, LoRA(rank=5, projections=("v",)))
    assert shapes == {"text.layers.v.adapter.a": (3, 64, 5), "text.layers.v.adapter.b": (3, 5, 32)}


def test_merged_adapters_give_the_same_logits_in_transformers(pair, prompt, tmp_path) -> None:
    policy = adapted(pair.policy)
    save_policy(policy, tmp_path)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(tmp_path)
    logits = logits_of(policy, prompt)
    np.testing.assert_allclose(logits, torch_logits(model, prompt), atol=1e-4)
    assert np.abs(logits - logits_of(pair.policy, prompt)).max() > 0.1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_base_in_the_compute_dtype_equals_a_base_in_float32(tied_pair, prompt, dtype) -> None:
    held = {
        kept: adapted(load_policy(tied_pair.directory, jnp.dtype(dtype), param_dtype=jnp.dtype(kept)))
        for kept in ("float32", dtype)
    }
    np.testing.assert_array_equal(logits_of(held[dtype], prompt), logits_of(held["float32"], prompt))


@pytest.mark.parametrize(("dtype", "most"), [("float32", 1e-4), pytest.param("bfloat16", 0.05, marks=pytest.mark.slow)])
def test_sampling_and_training_give_the_same_log_probabilities(tied_pair, prompt, dtype, most) -> None:
    """In one call and in the engine's slots. The sampling copy in the compute dtype shares the base."""
    policy = adapted(load_policy(tied_pair.directory, jnp.dtype(dtype)))
    sampler = to_compute_dtype(policy)
    assert sampler.text.layers.q.kernel[...] is policy.text.layers.q.kernel[...]
    inputs = batch([prompt], policy.config.vision)
    samples = sample(sampler, *inputs, jax.random.split(jax.random.key(0), 1), group=4, sampling=WARM)
    assert difference(policy, inputs, samples) < most

    def collate(prompts: Sequence[SmallPrompt], rows: int) -> tuple[Screens, Prompts]:
        return batch(list(prompts), policy.config.vision, rows=rows)

    async def ask() -> list:
        async with Engine(sampler, collate, WARM, 4, prompt_buckets=(64,), prefill_rows=(1,)) as engine:
            return await engine.sample_group(prompt, 7, 4)

    answers = asyncio.run(ask())
    ids, mask, logps = np.zeros((1, 4, 6), np.int32), np.zeros((1, 4, 6), bool), np.zeros((1, 4, 6), np.float32)
    for member, answer in enumerate(answers):
        length = len(answer.ids)
        ids[0, member, :length], logps[0, member, :length] = answer.ids, answer.logps
        mask[0, member, :length] = True
    assert difference(policy, inputs, Samples(ids, mask, logps)) < most


def difference(policy: Policy, inputs: tuple[Screens, Prompts], samples: Samples) -> float:
    """Return the largest difference between the samples' log-probabilities and those that training computes."""
    hidden = policy.completion_hidden(*inputs, samples.ids, samples.mask)
    logps, _ = token_logps(policy, hidden, samples.ids, forbidden=FORBIDDEN)
    return float(np.abs(np.where(samples.mask, logps - samples.logps, 0)).max())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": 0}, "rank 0 must be at least 1"),
        ({"alpha": 0.0}, "alpha 0.0 above 0"),
        ({"projections": ("q", "qkv")}, "there is no projection 'qkv'; choose from q, k, v, out, gate, up, down"),
        ({"projections": ()}, "no projection is named; choose from"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_line(settings, said) -> None:
    with pytest.raises(ValueError, match=said):
        LoRA(**settings)
