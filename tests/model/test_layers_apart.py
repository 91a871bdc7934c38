"""On a CPU layers are unrolled and decoding reads unstacked layers: equal answers, and no copies."""

import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_models import FORBIDDEN, SIZES, STOP, batch, make_prompt

from mobile_r1_jax.model.decode_layout import sampling_copy
from mobile_r1_jax.model.inputs import Prompts, Screens
from mobile_r1_jax.model.lora import with_adapters
from mobile_r1_jax.model.lora_settings import LoRA
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.sampling.sampler import Samples, Sampling, sample

WARM = Sampling(max_tokens=10, stop_ids=(STOP,), forbidden_ids=FORBIDDEN)
KEYS = jax.random.split(jax.random.key(3), 2)


@pytest.fixture(scope="module")
def inputs(tied_pair) -> tuple[Screens, Prompts]:
    prompts = [make_prompt(tied_pair.torch, sizes, seed=seed) for seed, sizes in enumerate((SIZES[:1], ()))]
    return batch(prompts, tied_pair.policy.config.vision)


def with_loop(policy: Policy, loop: str) -> Policy:
    policy = nnx.clone(policy)
    policy.text.loop = loop
    return policy


def adapted(policy: Policy) -> Policy:
    """Return the policy with random adapters."""
    policy = with_adapters(policy, LoRA(rank=3), key=jax.random.key(1))
    return jax.tree.map(lambda leaf: leaf + 0.1 * jnp.ones_like(leaf), policy)


def sampled(policy: Policy, inputs: tuple[Screens, Prompts]) -> Samples:
    return sample(policy, *inputs, KEYS, group=3, sampling=WARM)


@pytest.mark.parametrize(
    "adapters", [pytest.param(False, id="plain"), pytest.param(True, id="with adapters", marks=pytest.mark.slow)]
)
def test_unstacked_layers_sample_the_same_tokens(tied_pair, inputs, adapters) -> None:
    policy = adapted(tied_pair.policy) if adapters else tied_pair.policy
    apart = sampling_copy(policy)
    assert len(apart.text.decode_layers) == policy.config.text.layers and policy.text.decode_layers is None
    found, expected = sampled(apart, inputs), sampled(policy, inputs)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.logps, expected.logps, atol=1e-4)
    assert len(np.unique(expected.ids)) > 5


def test_layers_stay_stacked_with_scan(tied_pair) -> None:
    assert sampling_copy(with_loop(tied_pair.policy, "scan")).text.decode_layers is None


@pytest.mark.parametrize("remat", ["none", pytest.param("matmuls", marks=pytest.mark.slow)])
def test_unrolled_layers_and_scan_give_the_same_gradients(tied_pair, inputs, remat) -> None:
    """The last unrolled layer skips prompt tokens whose output is unused; the scan computes all."""
    rng = np.random.default_rng(0)
    ids = jnp.asarray(rng.integers(0, 140, (2, 3, 7)), jnp.int32)
    mask = jnp.asarray(np.arange(7) < rng.integers(3, 8, (2, 3, 1)))
    weights = jnp.asarray(rng.normal(size=(2, 3, 7, 64)), jnp.float32)

    @jax.jit
    def gradients(policy: Policy) -> nnx.State:
        def loss(policy: Policy) -> jax.Array:
            hidden = policy.completion_hidden(*inputs, ids, mask)
            return jnp.sum(jnp.where(mask[..., None], hidden * weights, 0))

        return nnx.state(jax.grad(loss)(policy))

    policy = nnx.clone(tied_pair.policy)
    policy.text.remat = remat
    written_out, looped = gradients(policy), gradients(with_loop(policy, "scan"))
    for one, other in zip(jax.tree.leaves(written_out), jax.tree.leaves(looped), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5 * float(jnp.abs(other).max()) + 1e-7)


def test_unrolled_layers_and_scan_give_the_same_samples(tied_pair, inputs) -> None:
    written_out, looped = (sampled(with_loop(tied_pair.policy, loop), inputs) for loop in ("unroll", "scan"))
    np.testing.assert_array_equal(written_out.ids, looped.ids)
    np.testing.assert_allclose(written_out.logps, looped.logps, atol=1e-5)


def test_decoding_loop_copies_neither_weights_nor_prompts_and_writes_each_cache_once(tied_pair, inputs) -> None:
    def written(policy: Policy) -> Counter[str]:
        """Return the shapes that the body of the loop computes."""
        program = sample.lower(policy, *inputs, KEYS, group=3, sampling=WARM).compile().as_text()
        bodies = re.findall(r"^%?\S*(?:region|while|body)\S* \(.*?^}", program, re.MULTILINE | re.DOTALL)
        return Counter(re.findall(r" = f32\[([\d,]+)\]\S* (?:copy|slice|fusion)\(", max(bodies, key=len)))

    text = tied_pair.policy.config.text
    up, down = f"{text.width},{text.feed_forward}", f"{text.feed_forward},{text.width}"
    stacked, apart = written(tied_pair.policy), written(sampling_copy(tied_pair.policy))
    assert stacked[up] >= text.layers and apart[up] == apart[down] == 0
    keys, values = f"6,{text.kv_heads},16,{WARM.max_tokens}", f"6,{text.kv_heads},{WARM.max_tokens},16"
    assert apart[keys] == apart[values] == text.layers
    batch, tokens = inputs[1].ids.shape
    assert not {f"{batch},{text.kv_heads},16,{tokens}", f"{batch},{text.kv_heads},{tokens},16"} & apart.keys()
