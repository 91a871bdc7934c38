"""A cache of encoded screens for a frozen vision tower: the tokens of each screen are kept on the host, by hash."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np

from mobile_r1_jax.model.config import VisionConfig
from mobile_r1_jax.model.inputs import EncodedScreens, ScreenId, ScreenshotLike, patches_of_all
from mobile_r1_jax.model.packing import Screens, Shape, Size, blocks_of, first_fit, pack_screens, smallest_shape
from mobile_r1_jax.model.vision import VisionTower

SizedScreenshot = tuple[ScreenshotLike, Size]


@dataclass
class ScreenCache:
    """An encoder of screens with a frozen vision tower, and a cache of their tokens.

    patches: as in `collate`. windows: allowed sizes of a row, in windows; new screens use the size with the least
    padding. rows: batch sizes of the encoder, ascending; rows of new screens are split into the largest sizes that they
    fill, and the rest is padded. tokens: M, the most merged tokens of a screen. place: puts a batch of screens onto the
    devices. Above `most_bytes` the least recently used screens are dropped.
    """

    vision: VisionTower
    patches: Callable[[ScreenshotLike, Size], np.ndarray]
    config: VisionConfig
    windows: Sequence[int]
    rows: Sequence[int]
    tokens: int
    place: Callable[[Screens], Screens]
    most_bytes: int = 2**30
    encoded: int = 0  # screens that were not in the cache
    asked: int = 0  # screens that were requested
    _tokens: OrderedDict[ScreenId, np.ndarray] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def __call__(
        self, shown: Mapping[ScreenId, SizedScreenshot], *, screens: int
    ) -> tuple[EncodedScreens, dict[ScreenId, np.ndarray]]:
        """Return the screens as tokens [`screens`, M, D], padded with zeros, and their places for `stack_prompts`.

        Raise ValueError in one line for a screen that is too large or has an unsupported size.
        """
        new = {key: one for key, one in shown.items() if key not in self._tokens}
        self.asked, self.encoded = self.asked + len(shown), self.encoded + len(new)
        if new:
            self._encode(new)
        for key in shown:
            self._tokens.move_to_end(key)
        found = [self._tokens[key] for key in shown]
        dtype = next((tokens.dtype for tokens in self._tokens.values()), np.float32)
        tokens = np.zeros((screens, self.tokens, self.config.out_width), dtype)
        places: dict[ScreenId, np.ndarray] = {}
        for number, (key, own) in enumerate(zip(shown, found, strict=True)):
            if len(own) > self.tokens:
                raise ValueError(f"screen of {key[1]}: {len(own)} tokens, there is room for {self.tokens}; resize it")
            tokens[number, : len(own)] = own
            places[key] = number * self.tokens + np.arange(len(own))
        while self._bytes > self.most_bytes:
            self._bytes -= self._tokens.popitem(last=False)[1].nbytes
        return EncodedScreens(tokens), places

    def _encode(self, new: Mapping[ScreenId, SizedScreenshot]) -> None:
        """Encode new screens in rows of the width with the least padding."""
        sizes = [size for _, size in new.values()]
        unlimited = range(len(new) + 1)
        width = smallest_shape(sizes, config=self.config, row_buckets=unlimited, block_buckets=self.windows).blocks
        filled = first_fit([blocks_of(size, self.config) for size in sizes], width)
        items = list(new.items())
        while filled:
            rows = max((rows for rows in self.rows if rows <= len(filled)), default=self.rows[0])
            self._encode_rows(dict(items[member] for row in filled[:rows] for member in row), Shape(rows, width))
            filled = filled[rows:]

    def _encode_rows(self, shown: Mapping[ScreenId, SizedScreenshot], shape: Shape) -> None:
        values = patches_of_all(shown.values(), self.patches)
        screens, places = pack_screens(values, [size for _, size in shown.values()], config=self.config, shape=shape)
        tokens = np.asarray(encode(self.vision, self.place(screens))).reshape(-1, self.config.out_width)
        for key, place in zip(shown, places, strict=True):
            self._tokens[key] = tokens[place]
            self._bytes += self._tokens[key].nbytes


@jax.jit
def encode(vision: VisionTower, screens: Screens) -> jax.Array:
    """Return the tokens [R, W * 16, D] of the screens, in the order of `VisionTower`."""
    return vision(screens)
