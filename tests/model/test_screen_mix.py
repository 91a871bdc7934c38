"""The vision tower encodes packed screens of five phones like `transformers`' tower.

The phones are real. Their screens are scaled down to a few windows so that the test is fast.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from small_models import grid_of

from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.model.packing import Screens, pack_screens, smallest_shape
from mobile_r1_jax.model.vision import VisionTower

PHONES = ((1080, 2400), (1080, 1920), (720, 1280), (1440, 3120), (1080, 2280))
SIZES = tuple(Resizing(scale=0.1).model_size(*phone) for phone in PHONES)


@pytest.fixture(scope="module")
def patches() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(width * height // 196, 1176)).astype(np.float32) for width, height in SIZES]


@pytest.fixture(scope="module")
def packed(tied_pair, patches) -> tuple[Screens, np.ndarray]:
    """Return the five screens in two rows, and the indices of their tokens, screen by screen."""
    config = tied_pair.policy.config.vision
    shape = smallest_shape(SIZES, config=config, row_buckets=(1, 2), block_buckets=(6, 13))
    screens, places = pack_screens(patches, SIZES, config=config, shape=shape)
    assert shape.rows == 2 and screens.screen.max() > 1
    return screens, np.concatenate(places)


def torch_tokens(model: torch.nn.Module, patches: list[np.ndarray]) -> torch.Tensor:
    return model.model.visual(torch.tensor(np.concatenate(patches)), grid_of(SIZES)).pooler_output


def test_mixed_screens_are_encoded_like_transformers_with_below_15_percent_padding(tied_pair, patches, packed) -> None:
    screens, place = packed
    assert (screens.window == 0).mean() < 0.15
    ours = np.asarray(jax.jit(VisionTower.__call__)(tied_pair.policy.vision, screens))
    with torch.no_grad():
        expected = torch_tokens(tied_pair.torch, patches).numpy()
    np.testing.assert_allclose(ours.reshape(-1, ours.shape[-1])[place], expected, atol=2e-5 * np.abs(expected).max())


def test_gradients_of_the_vision_tower_equal_those_of_transformers(tied_pair, patches, packed) -> None:
    screens, place = packed
    weights = np.random.default_rng(1).normal(size=(len(place), tied_pair.policy.config.vision.out_width))

    @jax.jit
    @jax.grad
    def gradient(vision: VisionTower) -> jax.Array:
        tokens = vision(screens)
        return jnp.sum(tokens.reshape(-1, tokens.shape[-1])[place] * weights)

    ours = gradient(tied_pair.policy.vision)
    tower = tied_pair.torch.model.visual
    tower.zero_grad()
    (torch_tokens(tied_pair.torch, patches) * torch.tensor(weights)).sum().backward()
    layers = tower.blocks
    pairs = {
        "patches": (ours.patch_embedding.kernel, tower.patch_embed.proj.weight.grad.reshape(48, -1).T),
        "norms": (ours.layers.attention_norm.scale, torch.stack([layer.norm1.weight.grad for layer in layers])),
        "out": (ours.layers.out.kernel, torch.stack([layer.attn.proj.weight.grad.T for layer in layers])),
        "merger": (ours.merger_up.kernel, tower.merger.mlp[0].weight.grad.T),
    }
    qkv = torch.stack([layer.attn.qkv.weight.grad.T for layer in layers])
    pairs["qkv"] = (ours.layers.qkv_kernel, qkv.reshape(len(layers), 48, 3, 48))
    for name, (one, other) in pairs.items():
        scale = float(other.abs().max())
        assert scale > 0
        np.testing.assert_allclose(one[...], other.numpy(), atol=1e-4 * scale, err_msg=name)
