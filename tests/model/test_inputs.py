"""Every screen is stored once, and the image index of a prompt refers to it."""

from dataclasses import replace

import numpy as np
import pytest
from small_models import Screen, SmallPrompt

from mobile_r1_jax.model.config import PolicyConfig, TextConfig, VisionConfig
from mobile_r1_jax.model.inputs import collate

CONFIG = VisionConfig()
SIZE = (140, 168)  # 5 x 6 merged tokens


def screen(name: str, size: tuple[int, int]) -> Screen:
    """Return patches whose values are the merged token (in raster order) and the index among its four patches."""
    tokens = size[0] * size[1] // 28**2
    number = 100 * np.arange(tokens)[:, None] + np.arange(4)
    return Screen(name, np.broadcast_to(number.reshape(-1, 1), (tokens * 4, CONFIG.patch_values)).astype(np.float32))


def prompt(screens: dict[str, tuple[int, int]], text: int = 3) -> SmallPrompt:
    tokens = sum(width * height // 28**2 for width, height in screens.values())
    index = np.array([-1] * text + list(range(tokens)), np.int32)
    ids = np.arange(len(index), dtype=np.int32)
    shots = tuple(screen(name, size) for name, size in screens.items())
    return SmallPrompt(ids, np.tile(ids, (3, 1)), index, shots, tuple(screens.values()))


def assemble(prompts: list[SmallPrompt], **buckets: tuple[int, ...]) -> tuple:
    buckets = {"prompt_buckets": (40, 80), "screen_buckets": (2, 3), "window_buckets": (1, 4)} | buckets
    return collate(prompts, lambda shot, size: shot.patches, config=CONFIG, **buckets)


def test_published_window_has_64_patches_of_1176_values() -> None:
    assert (CONFIG.window_patches, CONFIG.patch_values, CONFIG.window_tokens) == (64, 1176, 16)


def test_distinct_screenshots_and_sizes_are_stored_once_and_indexed_by_prompts() -> None:
    small = (56, 56)
    prompts = [prompt({"a": SIZE, "b": small}), prompt({"b": small}), prompt({"a": SIZE})]
    screens, batch = assemble(prompts)
    assert (screens.window > 0).sum() == 4 * (30 + 4)
    first_patches = screens.patches[..., 0].reshape(-1, 4)[:, 0]
    for row, expected in zip(batch.image_index, ([*range(30), *range(4)], range(4), range(30)), strict=True):
        np.testing.assert_array_equal(first_patches[row[row >= 0]], 100 * np.array(expected))
    # The tokens of screen b differ from those of screen a.
    assert not set(batch.image_index[1]) & set(batch.image_index[2]) - {-1}
    assert batch.image_index[0, :3].tolist() == [-1, -1, -1]


def test_prompts_are_padded_on_the_right_to_the_smallest_bucket_that_fits() -> None:
    _, batch = assemble([prompt({"b": (56, 56)}), prompt({}, text=33)], row_buckets=(4, 8))
    assert batch.ids.shape == (4, 40) and batch.positions.shape == (3, 4, 40)
    assert batch.mask.sum(axis=1).tolist() == [7, 33, 0, 0]
    assert batch.mask[0, :7].all()


@pytest.mark.parametrize(
    ("prompts", "line"),
    [
        ([prompt({}, text=81)], "tokens in a prompt: 81 needed, largest declared bucket is 80"),
        ([prompt({name: (224, 224)}) for name in "abcd"], "rows of screens in a batch: 4 needed, largest"),
        ([prompt({"a": (560, 112)}, text=1)], "windows in a row of screens: 5 needed, largest declared bucket is 4"),
        ([replace(prompt({"a": (56, 56)}), sizes=((56, 60),))], "screen of 56x60: both sides must be multiples of 28"),
        ([replace(prompt({"a": (56, 56)}), sizes=((84, 56),))], "patches are (16, 1176), need (24, 1176)"),
        ([replace(prompt({}), image_index=np.array([0, -1, -1]))], "prompt 0: 1 image tokens, its screenshots give 0"),
    ],
)
def test_inputs_over_the_declared_shapes_are_one_line_errors(prompts, line) -> None:
    with pytest.raises(ValueError) as error:
        assemble(prompts)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_impossible_policy_config_error_names_the_numbers() -> None:
    with pytest.raises(ValueError, match=r"vision\.out_width 2048 differs from text\.width 1024"):
        PolicyConfig(text=TextConfig(width=1024, heads=8))
