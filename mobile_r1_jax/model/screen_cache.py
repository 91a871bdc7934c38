"""Screens that a frozen vision tower has seen are not encoded again: their tokens stay on the host, by hash."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np

from mobile_r1_jax.model.config import VisionConfig
from mobile_r1_jax.model.inputs import EncodedScreens, Screens, ScreenshotLike, stack_screens
from mobile_r1_jax.model.vision import VisionTower

Shown = tuple[ScreenshotLike, tuple[int, int]]


@dataclass
class ScreenCache:
    """Encodes screens with a vision tower that does not learn.

    patches: as `collate` takes it. windows: every screen is padded to so many. sizes: how many screens are encoded at
    once, ascending: new ones are cut into these numbers, and only what is left of them is padded. place: puts a batch
    of screens onto the devices. Beyond `most_bytes` the screens used longest ago go.
    """

    vision: VisionTower
    patches: Callable[[ScreenshotLike, tuple[int, int]], np.ndarray]
    config: VisionConfig
    windows: int
    sizes: Sequence[int]
    place: Callable[[Screens], Screens]
    most_bytes: int = 2**30
    encoded: int = 0  # screens that had to be encoded
    asked: int = 0  # screens that were asked for
    _tokens: OrderedDict[tuple[str, tuple[int, int]], np.ndarray] = field(default_factory=OrderedDict)

    def __call__(self, shown: Sequence[Shown], *, screens: int) -> EncodedScreens:
        """The screens as tokens [`screens`, M, D], zero beyond the last of them."""
        new = [one for one in shown if (one[0].sha, one[1]) not in self._tokens]
        self.asked, self.encoded = self.asked + len(shown), self.encoded + len(new)
        while new:
            size = max((size for size in self.sizes if size <= len(new)), default=self.sizes[0])
            self._encode(new[:size], size)
            new = new[size:]
        found = []
        for screenshot, size in shown:
            self._tokens.move_to_end((screenshot.sha, size))
            found.append(self._tokens[screenshot.sha, size])
        tokens = np.zeros((screens, *found[0].shape), found[0].dtype)
        tokens[: len(found)] = found
        while sum(array.nbytes for array in found[:1]) * len(self._tokens) > self.most_bytes:
            self._tokens.popitem(last=False)
        return EncodedScreens(tokens)

    def _encode(self, shown: Sequence[Shown], screens: int) -> None:
        stacked = stack_screens(
            [self.patches(screenshot, size) for screenshot, size in shown],
            [size for _, size in shown],
            config=self.config,
            screens=screens,
            windows=self.windows,
        )
        tokens = np.asarray(encode(self.vision, self.place(stacked)))
        for (screenshot, size), row in zip(shown, tokens, strict=False):
            self._tokens[screenshot.sha, size] = row


@jax.jit
def encode(vision: VisionTower, screens: Screens) -> jax.Array:
    """[N, M, D] tokens of the screens."""
    return vision(screens)
