"""The input and output of the rule sets of offline evaluation: one golden step and one answer, one verdict.

Points and boxes have frames of different sizes: the golden ones that of the annotation, the predicted ones that of the
image that the model saw. The rule sets compare shares of the sides, as the published scripts do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import hypot
from typing import Literal

from mobile_r1_jax.agent.actions import Action, Click, Key, LongPress, Open, Swipe
from mobile_r1_jax.agent.frames import Box, Frame, Point
from mobile_r1_jax.agent.trajectory import Element

Direction = Literal["up", "down", "left", "right"]
Spot = tuple[float, float]  # (x, y) as shares of the sides
Area = tuple[float, float, float, float]  # (x1, y1, x2, y2) as shares of the sides; all edges belong to it
TAP = 0.04  # AITW: largest distance of a tap
OPPOSITE: dict[Direction, Direction] = {"up": "down", "down": "up", "left": "right", "right": "left"}


@dataclass(frozen=True)
class Verdict:
    """type_match: the answer has the type of the golden action. right: its arguments are right as well."""

    type_match: bool
    right: bool


WRONG, SAME_TYPE, RIGHT = Verdict(False, False), Verdict(True, False), Verdict(True, True)


def right_if(right: bool) -> Verdict:
    """Return the verdict on an answer of the right type."""
    return RIGHT if right else SAME_TYPE


def all_or_nothing(right: bool) -> Verdict:
    """Return the verdict of a rule set that knows no type score."""
    return RIGHT if right else WRONG


@dataclass(frozen=True)
class GoldenStep:
    """An annotated step. Coordinates are pixels of `frame`.

    action: what to do; a scroll is a swipe of the finger. box: of the element to act on, if the data has one. elements:
    all annotated elements of the screen, with their texts.
    """

    action: Action
    frame: Frame
    box: Box | None = None
    elements: tuple[Element, ...] = ()

    @property
    def spot(self) -> Spot:
        """Return where the golden click or long press is."""
        assert isinstance(self.action, (Click, LongPress))
        return spot(self.action.point)

    @cached_property
    def areas(self) -> list[Area]:
        """Return the areas of all elements; if the data lists none, of the golden box [ours]."""
        return [self.area(element.bbox) for element in self.elements] or ([self.box_area] if self.box_area else [])

    @property
    def box_area(self) -> Area | None:
        """Return the area of the golden box."""
        return None if self.box is None else self.area((self.box.x1, self.box.y1, self.box.x2, self.box.y2))

    @property
    def candidates(self) -> list[Area]:
        """Return the areas that count as the golden element: those that hold the golden point, or of an app to open the
        golden box and the elements with the app's name [ours]."""
        if isinstance(self.action, Open):
            named = [element.bbox for element in self.elements if _is_called(element, self.action.app)]
            return [*([self.box_area] if self.box_area else []), *map(self.area, named)]
        return [area for area in self.areas if holds(area, self.spot)]

    def smallest_area(self, at: Spot) -> Area | None:
        """Return the smallest area that holds a spot, or None."""
        return min((area for area in self.areas if holds(area, at)), key=_size, default=None)

    def text_at(self, at: Spot) -> str:
        """Return the text of the smallest element that holds a spot, in lower case; "" if there is none."""
        found = [element for element in self.elements if holds(self.area(element.bbox), at)]
        return min(found, key=lambda element: _size(self.area(element.bbox))).text.lower() if found else ""

    def area(self, box: Sequence[int]) -> Area:
        """Return the area of a box (x1, y1, x2, y2) in pixels of the step's frame."""
        width, height = self.frame.width, self.frame.height
        return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def spot(point: Point) -> Spot:
    """Return a point as shares of the sides of its frame."""
    return point.x / point.frame.width, point.y / point.frame.height


def thousandths(point: Point) -> Spot:
    """Return a point in whole thousandths of the sides, as shares."""
    x, y = spot(point)
    return round(1000 * x) / 1000, round(1000 * y) / 1000


def holds(area: Area, at: Spot) -> bool:
    """Return whether an area holds a spot, edges included."""
    return area[0] <= at[0] <= area[2] and area[1] <= at[1] <= area[3]


def center(area: Area) -> Spot:
    """Return the middle of an area."""
    return (area[0] + area[2]) / 2, (area[1] + area[3]) / 2


def around(area: Area, factor: float) -> Area:
    """Return the area whose sides are `factor` times as long, about the same centre."""
    (x, y), width, height = center(area), factor * (area[2] - area[0]) / 2, factor * (area[3] - area[1]) / 2
    return x - width, y - height, x + width, y + height


def enlarged(area: Area, factor: float) -> Area:
    """Return `around` as AITW's matching computes it.

    The top left corner is clamped to the screen and the size is kept: a box at the left or top edge reaches further
    right or down.
    """
    x1, y1, x2, y2 = around(area, factor)
    left, top = max(0.0, x1), max(0.0, y1)
    return left, top, left + min(1.0, x2 - x1), top + min(1.0, y2 - y1)


def overlap(a: Area, b: Area) -> float:
    """Return the intersection over union of two areas."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    return common / (_size(a) + _size(b) - common) if common else 0.0


def swipe_delta(swipe: Swipe) -> Spot:
    """Return the finger's movement as shares of the sides."""
    start, end = spot(swipe.start), spot(swipe.end)
    return end[0] - start[0], end[1] - start[1]


def swiped(swipe: Swipe, vertical: float = 1.0, *, pixels: bool = False) -> Direction | None:
    """Return the finger's direction; None if it does not move.

    It is vertical if |dy| >= vertical * |dx|. The units are shares of the sides, or pixels of the frame.
    """
    dx, dy = swipe_delta(swipe)
    if pixels:
        dx, dy = swipe.end.x - swipe.start.x, swipe.end.y - swipe.start.y
    if dx == dy == 0:
        return None
    if abs(dy) >= vertical * abs(dx):
        return "down" if dy > 0 else "up"
    return "right" if dx > 0 else "left"


def is_tap(swipe: Swipe) -> bool:
    """Return whether AITW calls a touch and a lift a tap."""
    return hypot(*swipe_delta(swipe)) <= TAP


def is_recents(action: Action) -> bool:
    """Return whether an action shows the recent apps, which GUI-Odyssey calls `KEY_APPSELECT`."""
    return isinstance(action, Key) and action.text.strip().lower().removeprefix("keycode_") == "app_switch"


def _size(area: Area) -> float:
    return (area[2] - area[0]) * (area[3] - area[1])


def _is_called(element: Element, name: str) -> bool:
    return element.text.strip().lower() == name.strip().lower()
