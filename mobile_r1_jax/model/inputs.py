"""The one batch: screens, prompts and completions as pytrees, assembled on the host in NumPy."""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import jax
import numpy as np

from mobile_r1_jax.model.config import VisionConfig
from mobile_r1_jax.model.packing import Screens, Size, pack_screens, smallest_bucket, smallest_shape

Array = jax.Array | np.ndarray
_THREADS = ThreadPoolExecutor(thread_name_prefix="patches")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EncodedScreens:
    """N distinct screens, already encoded by a frozen vision tower. They replace Screens anywhere."""

    tokens: Array  # [N, M, D], raster order; tokens after a screen's last one have no meaning


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Prompts:
    """B prompts, padded on the right to P tokens. A row whose mask is all False is a padding row."""

    ids: Array  # [B, P] int32
    positions: Array  # [3, B, P] int32: M-RoPE positions (time, row, column)
    mask: Array  # [B, P] bool
    image_index: Array  # [B, P] int32: index into the encoded screen tokens, -1 on text


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Completions:
    """G completions of each of the B prompts, padded on the right to C tokens."""

    ids: Array  # [B, G, C] int32, the stop token included
    mask: Array  # [B, G, C] bool
    logps: Array  # [B, G, C] float32: log-probabilities under the sampler
    advantages: Array  # [B, G] float32: the weight on every token of the completion
    truncated_logps: Array | None = None  # [B, G, C] float32: under the truncated distribution, if sampling used one


class ScreenshotLike(Protocol):
    """The part of a screenshot (agent/screenshots.py) that `collate` reads."""

    sha: str


class PromptLike(Protocol):
    """The part of a prompt (agent/prompts.py) that `collate` reads. Sizes are (width, height) in model pixels."""

    ids: np.ndarray  # [P] int32
    positions: np.ndarray  # [3, P] int32
    image_index: np.ndarray  # [P] int32: index among this prompt's merged image tokens, -1 on text
    screenshots: Sequence[ScreenshotLike]
    sizes: Sequence[tuple[int, int]]


ScreenId = tuple[str, Size]
"""A screenshot at a size: (content hash, (width, height) in model pixels)."""


def collate(
    prompts: Sequence[PromptLike],
    patches: Callable[[ScreenshotLike, Size], np.ndarray],
    *,
    config: VisionConfig,
    prompt_buckets: Sequence[int],
    screen_buckets: Sequence[int],
    window_buckets: Sequence[int],
    row_buckets: Sequence[int] | None = None,
) -> tuple[Screens, Prompts]:
    """Assemble a batch on the host: each distinct (screenshot, size) once, with shapes from the declared buckets.

    Args:
      patches: (screenshot, size) -> its patches, as `pack_screens` takes them.
      prompt_buckets: allowed prompt lengths P.
      screen_buckets: allowed numbers R of rows of screens; 0 for text only.
      window_buckets: allowed numbers W of windows in such a row.
      row_buckets: allowed numbers of rows B, filled with padding rows; None: as many as there are prompts.

    Raises:
      ValueError: one line, if a prompt, a screen or their number fits no bucket.
    """
    distinct = distinct_screens(prompts)
    sizes = [size for _, size in distinct.values()]
    shape = smallest_shape(sizes, config=config, row_buckets=screen_buckets, block_buckets=window_buckets)
    values = patches_of_all(distinct.values(), patches)
    screens, places = pack_screens(values, sizes, config=config, shape=shape)
    rows = len(prompts) if row_buckets is None else smallest_bucket(len(prompts), row_buckets, "prompts in a batch")
    return screens, stack_prompts(
        prompts, dict(zip(distinct, places, strict=True)), rows=rows, prompt_buckets=prompt_buckets
    )


def patches_of_all(
    screens: Collection[tuple[ScreenshotLike, Size]], patches: Callable[[ScreenshotLike, Size], np.ndarray]
) -> list[np.ndarray]:
    """Return the patches of each (screenshot, size), in order. Decoding and resizing release Python's lock, so threads
    do them on all cores."""
    return list(_THREADS.map(lambda screen: patches(*screen), screens))


def identity(prompt: PromptLike) -> tuple[bytes, ...]:
    """Return a value that is equal for equal prompts: same tokens, same screenshots at the same sizes."""
    screens = zip(prompt.screenshots, prompt.sizes, strict=True)
    return prompt.ids.tobytes(), *(f"{screenshot.sha} {size}".encode() for screenshot, size in screens)


def distinct_screens(prompts: Sequence[PromptLike]) -> dict[ScreenId, tuple[ScreenshotLike, Size]]:
    """Return every distinct (screenshot, size) of the prompts, in the order of first appearance."""
    return {
        (screenshot.sha, size): (screenshot, size)
        for prompt in prompts
        for screenshot, size in zip(prompt.screenshots, prompt.sizes, strict=True)
    }


def stack_prompts(
    prompts: Sequence[PromptLike], places: Mapping[ScreenId, np.ndarray], *, rows: int, prompt_buckets: Sequence[int]
) -> Prompts:
    """Return the prompts as `rows` padded rows.

    Args:
      places: of each of their screens, the index of each merged token, in raster order, into the encoded screen tokens.
    """
    longest = max((len(prompt.ids) for prompt in prompts), default=0)
    length = smallest_bucket(longest, prompt_buckets, "tokens in a prompt")
    ids = np.zeros((rows, length), np.int32)
    positions = np.zeros((3, rows, length), np.int32)
    mask = np.zeros((rows, length), bool)
    image_index = np.full((rows, length), -1, np.int32)
    for b, prompt in enumerate(prompts):
        own = slice(0, len(prompt.ids))
        ids[b, own], positions[:, b, own], mask[b, own] = prompt.ids, prompt.positions, True
        screens = zip(prompt.screenshots, prompt.sizes, strict=True)
        flat = np.concatenate([np.empty(0, np.int32), *(places[screenshot.sha, size] for screenshot, size in screens)])
        on_image = prompt.image_index >= 0
        if int(on_image.sum()) != len(flat):
            raise ValueError(f"prompt {b}: {int(on_image.sum())} image tokens, its screenshots give {len(flat)}")
        image_index[b, own][on_image] = flat[prompt.image_index[on_image]]
    return Prompts(ids, positions, mask, image_index)
