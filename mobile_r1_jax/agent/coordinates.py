"""Which pixels a data file's coordinates are in: the screenshot's own, or those of the resized image the model sees.

The published data may be in either and does not say. The coordinates themselves do, where the two differ in size.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.agent.responses import parse_response
from mobile_r1_jax.agent.screenshots import Resizing

# A response whose coordinates are in pixels yet unknown is read on an image that no coordinate can leave.
_ANYWHERE = Frame("screenshot", 1 << 31, 1 << 31)
# The share of the coordinates expected beyond the smaller image from which the file counts as being in the larger one's
# pixels: low, as taps are not spread evenly; above 0, as one slip in a file must not move all others.
_SHARE = 0.1


@dataclass(frozen=True)
class Seen:
    """Coordinates (x, y) met in one file on screenshots of one size, in pixels not known yet."""

    points: tuple[tuple[int, int], ...]
    width: int
    height: int


@dataclass(frozen=True)
class FoundFrame:
    """The pixels that a file's coordinates are in, and in one line how that was found."""

    kind: Literal["screenshot", "model"]
    reason: str

    def of(self, width: int, height: int, resizing: Resizing) -> Frame:
        """The frame of the coordinates on a width x height screenshot."""
        size = resizing.model_size(width, height) if self.kind == "model" else (width, height)
        return Frame(self.kind, *size)


def response_points(response: str) -> list[tuple[int, int]] | Malformed:
    """The coordinates in a response, whatever pixels they are in; Malformed when it is broken in any other way."""
    parsed = parse_response(response, _ANYWHERE)
    if isinstance(parsed, Malformed):
        return parsed
    return [(value.x, value.y) for value in vars(parsed.action).values() if isinstance(value, Point)]


def coordinate_frame(seen: Iterable[Seen], resizing: Resizing) -> FoundFrame:
    """Decides for one file, by the coordinates that lie beyond the smaller of the two images (our choice of rule).

    Were the file in the larger image's pixels, 1 - (smaller area / larger area) of evenly spread coordinates would lie
    beyond the smaller one: a tenth of that decides for the larger image, less for the smaller one. Equal sizes make no
    difference and count as the model's.
    """
    total, beyond, expected, growth, largest = 0, 0, 0.0, 0, (0, 0)
    for group in seen:
        shot = Frame("screenshot", group.width, group.height)
        model = Frame("model", *resizing.model_size(group.width, group.height))
        areas = shot.width * shot.height, model.width * model.height
        smaller = model if areas[1] <= areas[0] else shot
        expected += len(group.points) * (1 - min(areas) / max(areas))
        beyond += sum(not smaller.holds(x, y) for x, y in group.points)
        growth += areas[1] - areas[0]
        total += len(group.points)
        largest = tuple(map(max, largest, *group.points)) if group.points else largest
    larger, smaller = ("model", "screenshot") if growth > 0 else ("screenshot", "model")
    kind = larger if beyond > _SHARE * expected else smaller
    reason = (
        f"coordinates are in {kind} pixels: of {total}, the largest {largest}, {beyond} lie beyond the {smaller} image"
        f" ({expected:.0f} would, were they spread over the {larger} image)"
    )
    return FoundFrame(kind, reason)
