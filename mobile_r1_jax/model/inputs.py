"""The one batch: screens, prompts and completions as pytrees, and their assembly on the host in NumPy.

A screen's patches are laid out window by window, so that window attention is a batched matmul and no index arithmetic
is left for the device:

    screen of 6 x 5 merged tokens          four windows of 4 x 4 slots, `.` is padding (mask False)
    00 01 02 03|04                         [00 01 02 03  05 06 07 08  10 11 12 13  15 16 17 18]
    05 06 07 08|09                         [04  .  .  .  09  .  .  .  14  .  .  .  19  .  .  .]
    10 11 12 13|14                         [20 21 22 23  25 26 27 28   .  .  .  .   .  .  .  .]
    15 16 17 18|19                         [24  .  .  .  29  .  .  .   .  .  .  .   .  .  .  .]
    -----------+--
    20 21 22 23|24                         every slot holds merge * merge patches, side by side as Qwen orders them
    25 26 27 28|29
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import jax
import numpy as np

from mobile_r1_jax.model.config import VisionConfig

Array = jax.Array | np.ndarray


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Screens:
    """N distinct screenshots, each padded to W windows of S patches (S = 64 for Qwen2.5-VL), M = W * S / merge**2."""

    patches: Array  # [N, W, S, channels * frames * patch * patch] float32, normalised pixels
    positions: Array  # [N, W, S, 2] int32: (row, column) of the patch on its screen, in patches
    mask: Array  # [N, W, S] bool: a patch, not padding
    raster: Array  # [N, M] int32: the window slot of merged token m in raster order; 0 beyond the screen's last


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EncodedScreens:
    """N distinct screens as a frozen vision tower has already encoded them: takes the place of Screens anywhere."""

    tokens: Array  # [N, M, D], raster order; beyond a screen's last token: no meaning


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Prompts:
    """B prompts, padded on the right to P tokens; a row without any True in its mask is padding of the batch."""

    ids: Array  # [B, P] int32
    positions: Array  # [3, B, P] int32: M-RoPE positions (time, row, column)
    mask: Array  # [B, P] bool
    image_index: Array  # [B, P] int32: flat index into the [N * M] encoded screen tokens, -1 on text


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Completions:
    """G completions of each of the B prompts, padded on the right to C tokens."""

    ids: Array  # [B, G, C] int32, the stop token included
    mask: Array  # [B, G, C] bool
    logps: Array  # [B, G, C] float32: log-probabilities under the sampler
    advantages: Array  # [B, G] float32: the weight on every token of the completion
    truncated_logps: Array | None = None  # [B, G, C] float32: under what was drawn from, where that was cut (top-p)


class ScreenshotLike(Protocol):
    """What `collate` asks of a screenshot: agent/screenshots.py has it."""

    sha: str


class PromptLike(Protocol):
    """What `collate` asks of a prompt: agent/prompts.py has it. Sizes are (width, height) in model pixels."""

    ids: np.ndarray  # [P] int32
    positions: np.ndarray  # [3, P] int32
    image_index: np.ndarray  # [P] int32: index among this prompt's merged image tokens, -1 on text
    screenshots: Sequence[ScreenshotLike]
    sizes: Sequence[tuple[int, int]]


@lru_cache(maxsize=256)
def window_layout(rows: int, columns: int, config: VisionConfig) -> tuple[np.ndarray, np.ndarray, int]:
    """Where the patches of a screen of `rows` x `columns` merged tokens go.

    Returns:
      slots: [rows * columns] int32, the window slot of each merged token in raster order.
      positions: [rows * columns, merge**2, 2] int32, (row, column) in patches of each patch of each merged token.
      windows: how many windows the screen takes.
    """
    side, merge = config.window_side, config.merge
    row, column = (axis.reshape(-1) for axis in np.mgrid[:rows, :columns])
    windows_across = -(-columns // side)
    slots = (row // side * windows_across + column // side) * side**2 + row % side * side + column % side
    inner = np.stack(np.mgrid[:merge, :merge], -1).reshape(merge**2, 2)
    positions = np.stack([row, column], -1)[:, None] * merge + inner
    return slots.astype(np.int32), positions.astype(np.int32), -(-rows // side) * windows_across


def merged_grid(size: tuple[int, int], config: VisionConfig) -> tuple[int, int]:
    """(rows, columns) of merged tokens on a screen of `size` = (width, height) model pixels."""
    unit = config.patch * config.merge
    width, height = size
    if width % unit or height % unit:
        raise ValueError(f"screen of {width}x{height}: both sides must be multiples of {unit}; resize it first")
    return height // unit, width // unit


def stack_screens(
    patches: Sequence[np.ndarray],
    sizes: Sequence[tuple[int, int]],
    *,
    config: VisionConfig,
    screens: int,
    windows: int,
) -> Screens:
    """Lay out per-screen patches window by window and pad them to `screens` screens of `windows` windows.

    Args:
      patches: per screen [rows * columns * merge**2, patch_values] float32 in Qwen's order: merged tokens in raster
        order, the merge**2 patches of each side by side (the pixel_values of transformers' image processor).
      sizes: per screen (width, height) in model pixels.
    """
    slots_in_screen, inner = windows * config.window_tokens, config.merge**2
    values = np.zeros((screens, slots_in_screen, inner, config.patch_values), np.float32)
    positions = np.zeros((screens, slots_in_screen, inner, 2), np.int32)
    mask = np.zeros((screens, slots_in_screen, inner), bool)
    raster = np.zeros((screens, slots_in_screen), np.int32)
    for n, (screen, size) in enumerate(zip(patches, sizes, strict=True)):
        slots, where, taken = window_layout(*merged_grid(size, config), config)
        if taken > windows:
            raise ValueError(f"screen {n} of {size[0]}x{size[1]} takes {taken} windows, only {windows} are laid out")
        if screen.shape != (len(slots) * inner, config.patch_values):
            expected = (len(slots) * inner, config.patch_values)
            raise ValueError(f"screen {n} of {size[0]}x{size[1]}: patches are {screen.shape}, need {expected}")
        values[n, slots] = screen.reshape(len(slots), inner, -1)
        positions[n, slots] = where
        mask[n, slots] = True
        raster[n, : len(slots)] = slots
    shape = (screens, windows, config.window_patches)
    return Screens(
        values.reshape(*shape, config.patch_values), positions.reshape(*shape, 2), mask.reshape(shape), raster
    )


def smallest_bucket(needed: int, buckets: Sequence[int], what: str) -> int:
    """The smallest bucket that holds `needed`; ValueError in one line when none does."""
    fitting = [bucket for bucket in buckets if bucket >= needed]
    if not fitting:
        raise ValueError(f"{what}: {needed} needed, largest declared bucket is {max(buckets)}; declare a larger one")
    return min(fitting)


def collate(
    prompts: Sequence[PromptLike],
    patches: Callable[[ScreenshotLike, tuple[int, int]], np.ndarray],
    *,
    config: VisionConfig,
    prompt_buckets: Sequence[int],
    screen_buckets: Sequence[int],
    window_buckets: Sequence[int],
    row_buckets: Sequence[int] | None = None,
) -> tuple[Screens, Prompts]:
    """Assemble a batch on the host: every distinct (screenshot, size) once, shapes up to the declared buckets.

    Args:
      patches: gives the patches of a screenshot at a size, as `stack_screens` wants them.
      prompt_buckets: allowed prompt lengths P.
      screen_buckets: allowed numbers of distinct screens N. 0 is allowed, for text alone.
      window_buckets: allowed numbers of windows per screen W.
      row_buckets: allowed numbers of rows B, filled with padding rows; None takes as many as there are prompts.

    Raises:
      ValueError: one line, when a prompt, a screen or their number fits no bucket.
    """
    distinct = distinct_screens(prompts)
    windows = smallest_bucket(most_windows(distinct, config), window_buckets, "windows per screen")
    screens = stack_screens(
        [patches(screenshot, size) for screenshot, size in distinct],
        [size for _, size in distinct],
        config=config,
        screens=smallest_bucket(len(distinct), screen_buckets, "distinct screens in a batch"),
        windows=windows,
    )
    rows = len(prompts) if row_buckets is None else smallest_bucket(len(prompts), row_buckets, "prompts in a batch")
    return screens, stack_prompts(
        prompts, distinct, config=config, windows=windows, rows=rows, prompt_buckets=prompt_buckets
    )


def identity(prompt: PromptLike) -> tuple[bytes, ...]:
    """Equal for prompts that are the same to the policy: same tokens, same screenshots at the same sizes."""
    shown = zip(prompt.screenshots, prompt.sizes, strict=True)
    return prompt.ids.tobytes(), *(f"{screenshot.sha} {size}".encode() for screenshot, size in shown)


def distinct_screens(prompts: Sequence[PromptLike]) -> list[tuple[ScreenshotLike, tuple[int, int]]]:
    """Every (screenshot, size) that the prompts show, each once, in the order of its first appearance."""
    found = {
        (screenshot.sha, size): (screenshot, size)
        for prompt in prompts
        for screenshot, size in zip(prompt.screenshots, prompt.sizes, strict=True)
    }
    return list(found.values())


def most_windows(distinct: Sequence[tuple[ScreenshotLike, tuple[int, int]]], config: VisionConfig) -> int:
    """Windows of the screen that has most."""
    return max((window_layout(*merged_grid(size, config), config)[2] for _, size in distinct), default=0)


def stack_prompts(
    prompts: Sequence[PromptLike],
    distinct: Sequence[tuple[ScreenshotLike, tuple[int, int]]],
    *,
    config: VisionConfig,
    windows: int,
    rows: int,
    prompt_buckets: Sequence[int],
) -> Prompts:
    """The prompts as `rows` padded rows; image tokens point at `distinct` screens of `windows` windows each."""
    place = {(screenshot.sha, size): number for number, (screenshot, size) in enumerate(distinct)}
    length = smallest_bucket(max(len(prompt.ids) for prompt in prompts), prompt_buckets, "tokens in a prompt")
    ids = np.zeros((rows, length), np.int32)
    positions = np.zeros((3, rows, length), np.int32)
    mask = np.zeros((rows, length), bool)
    image_index = np.full((rows, length), -1, np.int32)
    for b, prompt in enumerate(prompts):
        own = slice(0, len(prompt.ids))
        ids[b, own], positions[:, b, own], mask[b, own] = prompt.ids, prompt.positions, True
        starts = [
            (place[screenshot.sha, size] * windows * config.window_tokens, merged_grid(size, config))
            for screenshot, size in zip(prompt.screenshots, prompt.sizes, strict=True)
        ]
        flat = np.concatenate([[], *(start + np.arange(tall * wide) for start, (tall, wide) in starts)])
        on_image = prompt.image_index >= 0
        if int(on_image.sum()) != len(flat):
            raise ValueError(f"prompt {b}: {int(on_image.sum())} image tokens, its screenshots give {len(flat)}")
        image_index[b, own][on_image] = flat[prompt.image_index[on_image]]
    return Prompts(ids, positions, mask, image_index)
