"""Pixels with a name: which image a coordinate is measured in is part of its type.

Four frames are in play: the device's own pixels, the pixels of the screenshot that a data set stores, the pixels of
the image that a data set's annotators resized it to, and the pixels of the image that the model sees after this run's
resizing (Qwen2.5-VL answers in those). Most wrong taps of such agents are right points in the wrong frame, so a point
cannot be had without its frame, and only `.to(frame)` moves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Frame:
    """A kind of image and its size in pixels."""

    kind: Literal["device", "screenshot", "resized", "model"]
    width: int
    height: int

    def holds(self, x: int, y: int) -> bool:
        """Whether pixel (x, y) lies on the image; the last one is (width - 1, height - 1)."""
        return 0 <= x < self.width and 0 <= y < self.height


def _rescale(value: int, size: int, target: int) -> int:
    # The target pixel under the centre of the source pixel: floor((value + 1/2) * target / size), in whole numbers.
    # Monotone, so a point inside a box stays inside it, and the identity between equal sizes (our choice).
    return min(max((2 * value + 1) * target // (2 * size), 0), target - 1)


@dataclass(frozen=True)
class Point:
    """One pixel (x right, y down) of a frame."""

    x: int
    y: int
    frame: Frame

    def to(self, frame: Frame) -> Point:
        """The same place in another frame, clamped to lie inside it."""
        return Point(
            _rescale(self.x, self.frame.width, frame.width), _rescale(self.y, self.frame.height, frame.height), frame
        )


@dataclass(frozen=True)
class Box:
    """The pixels x1..x2, y1..y2 of a frame, both ends included."""

    x1: int
    y1: int
    x2: int
    y2: int
    frame: Frame

    def contains(self, point: Point) -> bool:
        """Whether `point`, brought into this box's frame, lies in the box; its edges belong to it."""
        if point.frame != self.frame:
            point = point.to(self.frame)
        return self.x1 <= point.x <= self.x2 and self.y1 <= point.y <= self.y2

    @property
    def center(self) -> Point:
        """The middle pixel (rounded down)."""
        return Point((self.x1 + self.x2) // 2, (self.y1 + self.y2) // 2, self.frame)

    def to(self, frame: Frame) -> Box:
        """The same box in another frame, clamped; every point of the old one lies in the new one."""
        first = Point(self.x1, self.y1, self.frame).to(frame)
        last = Point(self.x2, self.y2, self.frame).to(frame)
        return Box(first.x, first.y, last.x, last.y, frame)
