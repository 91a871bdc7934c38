"""A frozen tower encodes every screen once, and small batches of screens get little padding."""

from collections.abc import Sequence

import jax
import numpy as np
import pytest
from small_models import SIZES, Screen

from mobile_r1_jax.model.inputs import ScreenId
from mobile_r1_jax.model.packing import Screens, Shape, pack_screens
from mobile_r1_jax.sampling.screen_cache import ScreenCache, SizedScreenshot, encode

WINDOWS = 2


def screens(count: int) -> list[tuple[ScreenId, SizedScreenshot]]:
    """Return `count` different screens, of alternating sizes."""
    sizes = [SIZES[number % len(SIZES)] for number in range(count)]
    rng = np.random.default_rng(0)
    return [
        (
            (str(number), (width, height)),
            (Screen(str(number), rng.normal(size=(width * height // 196, 1176)).astype(np.float32)), (width, height)),
        )
        for number, (width, height) in enumerate(sizes)
    ]


@pytest.fixture
def batches() -> list[int]:
    """Return the number of screens of each encoded batch."""
    return []


@pytest.fixture
def cache(tied_pair, batches: list[int]) -> ScreenCache:
    def place(made: Screens) -> Screens:
        batches.append(jax.tree.leaves(made)[0].shape[0])
        return made

    vision = tied_pair.policy.vision
    config = tied_pair.policy.config.vision
    return ScreenCache(
        vision, lambda screen, _: screen.patches, config, windows=(WINDOWS,), rows=(1, 4), tokens=24, place=place
    )


def encoded(cache: ScreenCache, shown: Sequence[tuple[ScreenId, SizedScreenshot]]) -> list[np.ndarray]:
    """Return the tower's tokens of all screens in one batch, in rows wide enough for several."""
    values, sizes = [screen.patches for _, (screen, _) in shown], [size for _, (_, size) in shown]
    packed, places = pack_screens(values, sizes, config=cache.config, shape=Shape(2, 5))
    tokens = np.asarray(encode(cache.vision, packed)).reshape(-1, cache.config.out_width)
    return [tokens[place] for place in places]


def test_cached_tokens_equal_the_tower_and_are_zero_without_a_screen(cache: ScreenCache) -> None:
    shown = screens(3)
    found, places = cache(dict(shown), screens=5)
    tokens = np.asarray(found.tokens).reshape(5 * 24, -1)
    for (key, _), expected in zip(shown, encoded(cache, shown), strict=True):
        np.testing.assert_allclose(tokens[places[key]], expected, atol=1e-5)
    assert not tokens[3 * 24 :].any()


def test_prompts_without_screens_get_the_same_shapes(cache: ScreenCache, batches) -> None:
    found, places = cache({}, screens=5)
    like, _ = cache(dict(screens(1)), screens=5)
    assert (found.tokens.shape, found.tokens.dtype) == (like.tokens.shape, like.tokens.dtype)
    assert not places and not np.asarray(found.tokens).any() and batches == [1]


def test_only_new_screens_are_encoded_in_the_rows_that_they_fill(cache, batches) -> None:
    shown = screens(9)  # one of the larger screens fits into a row, or two of the smaller ones
    cache(dict(shown[:8]), screens=8)
    assert batches == [4, 1, 1]
    cache(dict(shown[1:]), screens=8)
    assert batches == [4, 1, 1, 1] and (cache.encoded, cache.asked) == (9, 16)


def test_screen_larger_than_the_shapes_is_a_one_line_error(cache: ScreenCache) -> None:
    cache.tokens = 16
    with pytest.raises(ValueError, match=r"screen of \(84, 196\): 21 tokens, there is room for 16; resize it"):
        cache(dict(screens(2)), screens=2)


def test_least_recently_used_screen_is_evicted_first(cache, batches) -> None:
    first, second, third = ({key: one} for key, one in screens(3))
    cache.most_bytes = (15 + 21) * cache.config.out_width * 4
    for shown in (
        first,
        second,
        first,
        third,
        first,
    ):  # use the first one again, so that the second is the least recently used
        cache(shown, screens=1)
    assert len(batches) == 3
    cache(second, screens=1)
    assert len(batches) == 4
