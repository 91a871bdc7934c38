"""Screens that a frozen tower has seen are not encoded again, and few of them are not padded to many."""

from collections.abc import Sequence

import jax
import numpy as np
import pytest
from small_models import SIZES, Screen

from mobile_r1_jax.model.inputs import Screens, stack_screens
from mobile_r1_jax.model.screen_cache import ScreenCache, Shown, encode

WINDOWS = 4


def screens(count: int) -> list[Shown]:
    """So many different screens, of sizes in turn."""
    sizes = [SIZES[number % len(SIZES)] for number in range(count)]
    rng = np.random.default_rng(0)
    return [
        (Screen(str(number), rng.normal(size=(width * height // 196, 1176)).astype(np.float32)), (width, height))
        for number, (width, height) in enumerate(sizes)
    ]


@pytest.fixture
def batches() -> list[int]:
    """How many screens each batch had that was encoded."""
    return []


@pytest.fixture
def cache(tied_pair, batches: list[int]) -> ScreenCache:
    def place(made: Screens) -> Screens:
        batches.append(jax.tree.leaves(made)[0].shape[0])
        return made

    vision = tied_pair.policy.vision
    config = tied_pair.policy.config.vision
    return ScreenCache(vision, lambda screen, _: screen.patches, config, windows=WINDOWS, sizes=(1, 4), place=place)


def encoded(cache: ScreenCache, shown: Sequence[Shown]) -> np.ndarray:
    """What the tower makes of them all at once."""
    values, sizes = [screen.patches for screen, _ in shown], [size for _, size in shown]
    stacked = stack_screens(values, sizes, config=cache.config, screens=len(shown), windows=WINDOWS)
    return np.asarray(encode(cache.vision, stacked))


def test_tokens_are_the_towers_and_zero_beyond_the_last_screen(cache: ScreenCache) -> None:
    shown = screens(3)
    tokens = np.asarray(cache(shown, screens=5).tokens)
    np.testing.assert_allclose(tokens[:3], encoded(cache, shown), atol=1e-5)
    assert tokens.shape[0] == 5 and not tokens[3:].any()


def test_new_screens_are_encoded_in_the_sizes_they_fill_and_old_ones_not_again(cache, batches) -> None:
    shown = screens(7)
    cache(shown[:6], screens=8)
    assert batches == [4, 1, 1]
    cache(shown[1:], screens=8)
    assert batches == [4, 1, 1, 1] and (cache.encoded, cache.asked) == (7, 12)


def test_what_was_used_longest_ago_goes_first_when_room_is_short(cache, batches) -> None:
    shown = screens(3)
    one = np.asarray(cache(shown[:1], screens=1).tokens).nbytes
    cache.most_bytes = 2 * one
    cache(shown[1:2], screens=1)
    cache(shown[:1], screens=1)  # again, so that the second is now the oldest
    cache(shown[2:], screens=1)
    cache(shown[:1], screens=1)
    assert len(batches) == 3
    cache(shown[1:2], screens=1)
    assert len(batches) == 4
