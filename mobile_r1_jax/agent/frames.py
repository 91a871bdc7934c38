"""Points and boxes in named frames: a frame says which image a coordinate is measured in.

There are four frames: pixels of the device; of the screenshot that a data set stores; of the image that a data set's
annotators resized it to; and of the image that the model sees after this run's resizing (Qwen2.5-VL answers in the last
one). A right point in the wrong frame is a wrong tap. So every point has a frame, and only `.to(frame)` converts it.
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
        """Return whether pixel (x, y) is on the image; the last pixel is (width - 1, height - 1)."""
        return 0 <= x < self.width and 0 <= y < self.height


def _rescale(value: int, size: int, target: int) -> int:
    # The target pixel at the centre of the source pixel: floor((value + 1/2) * target / size), in integers. It is
    # monotone, so a point in a box stays in the box, and it is the identity between equal sizes [ours].
    return min(max((2 * value + 1) * target // (2 * size), 0), target - 1)


@dataclass(frozen=True)
class Point:
    """One pixel (x right, y down) of a frame."""

    x: int
    y: int
    frame: Frame

    def to(self, frame: Frame) -> Point:
        """Return the same place in another frame, clamped to the image."""
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
        """Return whether `point`, converted to the frame of the box, is in the box, edges included."""
        if point.frame != self.frame:
            point = point.to(self.frame)
        return self.x1 <= point.x <= self.x2 and self.y1 <= point.y <= self.y2

    @property
    def center(self) -> Point:
        """Return the middle pixel (rounded down)."""
        return Point((self.x1 + self.x2) // 2, (self.y1 + self.y2) // 2, self.frame)

    def to(self, frame: Frame) -> Box:
        """Return the same box in another frame, clamped; every point of this box is in it."""
        first = Point(self.x1, self.y1, self.frame).to(frame)
        last = Point(self.x2, self.y2, self.frame).to(frame)
        return Box(first.x, first.y, last.x, last.y, frame)
