"""Screens are packed by windows, several per row, with little padding."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh
from small_models import Screen

from mobile_r1_jax.config import TINY, Run, parse_run
from mobile_r1_jax.model.config import VisionConfig
from mobile_r1_jax.model.packing import Screens, Shape, Size, first_fit, pack_screens, screen_layout, smallest_shape
from mobile_r1_jax.model.sharding import AXES
from mobile_r1_jax.sampling.screen_cache import ScreenCache
from mobile_r1_jax.session import cached_rows, most_tokens

CONFIG = VisionConfig()


def numbered(size: Size) -> np.ndarray:
    """Return patches whose values are the merged token (in raster order) and the index among its four patches."""
    tokens = size[0] * size[1] // 28**2
    number = 100 * np.arange(tokens)[:, None] + np.arange(4)
    return np.broadcast_to(number.reshape(-1, 1), (tokens * 4, CONFIG.patch_values)).astype(np.float32)


def test_merged_tokens_go_to_the_slots_drawn_in_packing() -> None:
    slots, windows, positions, blocks = screen_layout(6, 5, CONFIG)
    assert blocks == 2
    by_slot, window = np.full((2, 32), -1)
    by_slot[slots], window[slots] = np.arange(30), windows
    assert by_slot[:16].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13, 15, 16, 17, 18]
    assert by_slot[16:].tolist() == [20, 21, 22, 23, 25, 26, 27, 28, 4, 9, 14, 19, 24, 29, -1, -1]
    assert window.tolist() == [1] * 16 + [1] * 8 + [2] * 4 + [3] * 2 + [-1] * 2
    assert positions[7].tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]  # token 7: merged row 1, column 2


def test_windows_of_a_block_are_windows_of_the_screen_with_unique_numbers() -> None:
    """On every grid up to 9 x 9, by definition: two tokens attend to each other if // side is equal."""
    for rows, columns in np.ndindex(9, 9):
        slots, windows, _, _ = screen_layout(rows + 1, columns + 1, CONFIG)
        row, column = (axis.reshape(-1) for axis in np.mgrid[: rows + 1, : columns + 1])
        expected = row // 4 * 100 + column // 4
        found = slots // 16 * 100 + windows
        np.testing.assert_array_equal(found[:, None] == found, expected[:, None] == expected)
        assert len(set(slots)) == len(slots)


def test_screens_that_share_a_row_are_unpacked_separately() -> None:
    sizes = [(56, 56), (140, 168), (112, 112)]  # 1, 2 and 1 blocks
    screens, places = pack_screens([numbered(size) for size in sizes], sizes, config=CONFIG, shape=Shape(2, 5))
    assert screens.screen.tolist() == [[1, 1, 2, 3, 0], [0] * 5]  # the largest first, then in their order
    first_patch = screens.patches[..., 0].reshape(-1, 4)[:, 0]
    for size, place in zip(sizes, places, strict=True):
        np.testing.assert_array_equal(first_patch[place], 100 * np.arange(size[0] * size[1] // 28**2))
    assert (screens.window > 0).sum() == 4 * (4 + 30 + 16) and not screens.window[1].any()


def test_first_fit_takes_the_largest_first_and_refuses_items_larger_than_a_bin() -> None:
    assert first_fit([2, 5, 3, 5, 1], 6) == [[1, 4], [3], [2, 0]]
    assert first_fit([], 6) == []
    with pytest.raises(ValueError, match="item 1 of size 7 is larger than a bin of 6"):
        first_fit([1, 7], 6)


def test_smallest_sufficient_shape_is_used() -> None:
    def shape(*sizes: Size, rows=(1, 2, 4), blocks=(4, 6)) -> Shape:
        return smallest_shape(sizes, config=CONFIG, row_buckets=rows, block_buckets=blocks)

    assert shape((112, 112)) == Shape(1, 4)
    assert shape(*[(112, 224)] * 3) == Shape(1, 6)
    assert shape(*[(224, 224)] * 2) == Shape(2, 4)
    with pytest.raises(ValueError, match="rows of screens in a batch: 5 needed, largest declared bucket is 4"):
        shape(*[(224, 224)] * 5)
    with pytest.raises(ValueError, match="windows in a row of screens: 7 needed, largest declared bucket is 6"):
        shape((112, 784))


# Real phones, (width, height) in device pixels.
PHONES = ((1080, 2400), (1080, 1920), (720, 1280), (1440, 3120), (1080, 2280))


@pytest.mark.parametrize("each", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "run",
    [parse_run("launch", ["--config", str(TINY.with_name("3b-v5e-8.yaml"))]), Run()],
    ids=["3b-v5e-8", "default"],
)
def test_padding_stays_below_15_percent_for_a_mix_of_phones(run, each) -> None:
    """The screen cache of a run batches the screens for the tower on one device."""
    config = replace(CONFIG, channels=1, temporal_patch=1)  # grey images, to be fast
    given = []

    def place(screens: Screens) -> Screens:
        given.append(screens.window)
        return screens

    def tower(screens: Screens) -> jax.Array:
        return jnp.zeros((*screens.screen.shape, 16, config.out_width))

    mesh = AbstractMesh((1, 1, 1), AXES)
    cache = ScreenCache(
        jax.tree_util.Partial(tower),
        lambda _, size: np.zeros((size[0] * size[1] // 196, 196), np.float32),
        config,
        windows=run.shapes.windows,
        rows=cached_rows(run, mesh),
        tokens=most_tokens(run, config),
        place=place,
    )
    sizes = {f"{phone} {number}": run.resizing.model_size(*phone) for phone in PHONES for number in range(each)}
    cache({(name, size): (Screen(name, np.empty(0)), size) for name, size in sizes.items()}, screens=5 * each)
    patches = sum(window.size for window in given)
    real = sum(width * height // 196 for width, height in sizes.values())
    assert sum((window > 0).sum() for window in given) == real
    assert 1 - real / patches < 0.15
