"""Packing of screens of any sizes: their patches window by window, several screens in a row.

A row has W blocks. A block has room for one full window (4 x 4 merged tokens), so that window attention is a batched
matmul. Windows at the right and lower edge of a screen are smaller: several of them share a block, with numbers.

    screen of 6 x 5 merged tokens       two blocks of 16 slots           `.` is padding (window 0)
    00 01 02 03|04                      [00 01 02 03  05 06 07 08  10 11 12 13  15 16 17 18]   window 1
    05 06 07 08|09                      [20 21 22 23  25 26 27 28  04 09 14 19  24 29  .  .]   windows 2, 3, 4
    10 11 12 13|14
    15 16 17 18|19                      every slot holds merge * merge patches, in Qwen's order
    -----------+--
    20 21 22 23|24                      row of W = 5 blocks, three screens:   [a a|b|c .]  screens 1 1 2 3 0
    25 26 27 28|29

Full attention covers a row, within each screen. Rows are filled first-fit, largest screens first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import jax
import numpy as np

from mobile_r1_jax.model.config import VisionConfig

Array = jax.Array | np.ndarray
Size = tuple[int, int]  # (width, height) in model pixels


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Screens:
    """Distinct screenshots in R rows of W blocks of S patches (S = 64 for Qwen2.5-VL), padding included."""

    patches: Array  # [R, W, S, channels * frames * patch * patch] float32, normalised pixels
    positions: Array  # [R, W, S, 2] int32: (row, column) of the patch on its screen, in patches
    window: Array  # [R, W, S] int32: number of the attention window in the block, from 1; 0 is padding
    screen: Array  # [R, W] int32: number of the screen in the row, from 1; 0 is padding


class Layout(NamedTuple):
    """The places of the T merged tokens of a screen, in raster order."""

    slots: np.ndarray  # [T] int32: slot, counted over the screen's blocks
    windows: np.ndarray  # [T] int32: number of the window in the block, from 1
    positions: np.ndarray  # [T, merge**2, 2] int32: (row, column), in patches, of each patch of the token
    blocks: int  # number of blocks of the screen


class Shape(NamedTuple):
    """R rows of W blocks."""

    rows: int
    blocks: int


def first_fit(sizes: Sequence[int], room: int) -> list[list[int]]:
    """Return bins of size `room`, each as the numbers of its items.

    Items are taken largest first (stable for equal sizes), and each goes into the first bin that has room. Raises
    ValueError if an item is larger than a bin.
    """
    bins: list[list[int]] = []
    left: list[int] = []
    for item in sorted(range(len(sizes)), key=lambda item: -sizes[item]):
        if sizes[item] > room:
            raise ValueError(f"item {item} of size {sizes[item]} is larger than a bin of {room}")
        place = next((number for number, free in enumerate(left) if free >= sizes[item]), len(bins))
        if place == len(bins):
            bins.append([])
            left.append(room)
        bins[place].append(item)
        left[place] -= sizes[item]
    return bins


def merged_grid(size: tuple[int, int], config: VisionConfig) -> tuple[int, int]:
    """Return (rows, columns) of merged tokens on a screen of `size` = (width, height) model pixels."""
    unit = config.patch * config.merge
    width, height = size
    if width % unit or height % unit:
        raise ValueError(f"screen of {width}x{height}: both sides must be multiples of {unit}; resize it first")
    return height // unit, width // unit


@lru_cache(maxsize=256)
def screen_layout(rows: int, columns: int, config: VisionConfig) -> Layout:
    """Return the layout of a screen of `rows` x `columns` merged tokens."""
    side, merge, room = config.window_side, config.merge, config.window_tokens
    row, column = (axis.reshape(-1) for axis in np.mgrid[:rows, :columns])
    window = row // side * -(-columns // side) + column // side
    tokens = [np.flatnonzero(window == number) for number in range(window.max() + 1)]
    slots, windows = np.empty((2, rows * columns), np.int32)
    blocks = first_fit([len(some) for some in tokens], room)
    for block, members in enumerate(blocks):
        start = block * room
        for number, member in enumerate(members, start=1):
            some = tokens[member]
            slots[some], windows[some] = start + np.arange(len(some)), number
            start += len(some)
    inner = np.stack(np.mgrid[:merge, :merge], -1).reshape(merge**2, 2)
    positions = np.stack([row, column], -1)[:, None] * merge + inner
    return Layout(slots, windows, positions.astype(np.int32), len(blocks))


def blocks_of(size: Size, config: VisionConfig) -> int:
    """Return the number of blocks of a screen. Raises ValueError as `merged_grid`."""
    return screen_layout(*merged_grid(size, config), config).blocks


def smallest_bucket(needed: int, buckets: Sequence[int], what: str) -> int:
    """Return the smallest bucket that holds `needed`. Raises ValueError in one line if none does."""
    fitting = [bucket for bucket in buckets if bucket >= needed]
    if not fitting:
        raise ValueError(f"{what}: {needed} needed, largest declared bucket is {max(buckets)}; declare a larger one")
    return min(fitting)


def smallest_shape(
    *sizes: Sequence[Size], config: VisionConfig, row_buckets: Sequence[int], block_buckets: Sequence[int]
) -> Shape:
    """Return the shape, among the declared buckets, that holds the screens in the fewest blocks.

    sizes: of the screens of a batch; of several batches, for a shape that holds each of them. Raises ValueError in one
    line if none does.
    """
    blocks = [[blocks_of(size, config) for size in batch] for batch in sizes]
    least = smallest_bucket(
        max(map(max, filter(None, blocks)), default=0), block_buckets, "windows in a row of screens"
    )
    widths = [width for width in block_buckets if width >= least]
    rows = {width: max(len(first_fit(batch, width)) for batch in blocks) for width in widths}
    fitting = [Shape(bucket, width) for width in rows for bucket in row_buckets if bucket >= rows[width]]
    if not fitting:
        smallest_bucket(min(rows.values()), row_buckets, "rows of screens in a batch")
    return min(fitting, key=lambda shape: (shape.rows * shape.blocks, shape.rows))


def pack_screens(
    patches: Sequence[np.ndarray], sizes: Sequence[Size], *, config: VisionConfig, shape: Shape
) -> tuple[Screens, list[np.ndarray]]:
    """Pack screens into `shape`.

    Args:
      patches: per screen [rows * columns * merge**2, patch_values] float32 in Qwen's order: merged tokens in raster
        order, the merge**2 patches of each one together (the pixel_values of transformers' image processor).

    Returns:
      the screens; and per screen [T] int32, the index of each merged token, in raster order, into the [R * W * 16]
      output tokens of the vision tower.

    Raises:
      ValueError: one line, if the screens do not fit, or the patches do not match the size of their screen.
    """
    inner, room = config.merge**2, config.window_tokens
    layouts = [screen_layout(*merged_grid(size, config), config) for size in sizes]
    rows = first_fit([layout.blocks for layout in layouts], shape.blocks)
    if len(rows) > shape.rows:
        raise ValueError(f"{len(sizes)} screens take {len(rows)} rows of {shape.blocks} windows, not {shape.rows}")
    slots = shape.rows * shape.blocks * room
    values = np.zeros((slots, inner, config.patch_values), np.float32)
    positions = np.zeros((slots, inner, 2), np.int32)
    window, screen = np.zeros((slots, inner), np.int32), np.zeros((shape.rows, shape.blocks), np.int32)
    places = [np.empty(0, np.int32)] * len(sizes)
    for row, members in enumerate(rows):
        block = 0
        for number, member in enumerate(members, start=1):
            layout, (width, height) = layouts[member], sizes[member]
            expected = (len(layout.slots) * inner, config.patch_values)
            if patches[member].shape != expected:
                raise ValueError(
                    f"screen {member} of {width}x{height}: patches are {patches[member].shape}, need {expected}"
                )
            place = (row * shape.blocks + block) * room + layout.slots
            values[place] = patches[member].reshape(len(place), inner, -1)
            positions[place], window[place] = layout.positions, layout.windows[:, None]
            screen[row, block : block + layout.blocks] = number
            places[member] = place.astype(np.int32)
            block += layout.blocks
    lead = (*shape, config.window_patches)
    screens = Screens(
        values.reshape(*lead, config.patch_values), positions.reshape(*lead, 2), window.reshape(lead), screen
    )
    return screens, places
