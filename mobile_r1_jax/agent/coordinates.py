"""Which pixels a data file's coordinates are in: the screenshot's own, or those of an image that it was resized to.

The published data may be in either and does not say. A setting decides, or else the coordinates themselves, compared
with the resizing of whoever annotated the file. The resizing of the run that reads the file has no say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.agent.responses import parse_response
from mobile_r1_jax.agent.screenshots import Resizing

FrameSetting = Literal["auto", "screenshot", "resized"]

# A response whose coordinates are in pixels yet unknown is read on an image that no coordinate can leave.
_ANYWHERE = Frame("screenshot", 1 << 31, 1 << 31)
# The share of the coordinates expected beyond the smaller image from which the file counts as being in the larger one's
# pixels: low, as taps are not spread evenly; above 0, as one slip in a file must not move all others.
_SHARE = 0.1
_FEW = 3  # expected beyond the smaller image: where none is, that may be chance
_MANY = 20  # so many coordinates reach most of the screen, in the right pixels
_REACH = (1 / 2, 2 / 3)  # of the screen's sides, at least: the side that they reach less of, and the other


@dataclass(frozen=True)
class Seen:
    """Coordinates (x, y) met in one file on images of one size, in pixels not known yet.

    width, height: of the image that the file says it was annotated on; scaled: the stored picture has another size.
    """

    points: tuple[tuple[int, int], ...]
    width: int
    height: int
    scaled: bool = False


@dataclass(frozen=True)
class FoundFrame:
    """The pixels that a file's coordinates are in.

    resizing: what made the resized images. reason: how this was found, in one line. doubt: why it may be wrong, or "".
    """

    kind: Literal["screenshot", "resized"]
    resizing: Resizing
    reason: str
    doubt: str = ""

    def of(self, width: int, height: int) -> Frame:
        """Return the frame of coordinates that were annotated on a width x height image.

        Raise ValueError when no image of this size can be resized.
        """
        size = self.resizing.model_size(width, height) if self.kind == "resized" else (width, height)
        return Frame(self.kind, *size)


def response_points(response: str) -> list[tuple[int, int]] | Malformed:
    """The coordinates in a response, whatever pixels they are in; Malformed when it is broken in any other way."""
    parsed = parse_response(response, _ANYWHERE)
    if isinstance(parsed, Malformed):
        return parsed
    return [(value.x, value.y) for value in vars(parsed.action).values() if isinstance(value, Point)]


def coordinate_frame(seen: Iterable[Seen], resizing: Resizing, setting: FrameSetting = "auto") -> FoundFrame:
    """Decide for one file which pixels its coordinates are in: by `setting`, or where that is "auto" by themselves.

    `resizing` is that of whoever annotated the file. What decides are the coordinates beyond the smaller of the two
    images (our choice of rule). Were the file in the larger image's pixels, 1 - (smaller area / larger area) of evenly
    spread coordinates would lie beyond the smaller one: a tenth of that decides for the larger image, less for the
    smaller one. Equal sizes make no difference and count as resized. Screens so small that the resizing would enlarge
    them were not resized by it.
    """
    groups = [group for group in seen if group.points]
    if not groups:
        return FoundFrame("resized" if setting == "auto" else setting, resizing, "there are no coordinates")
    total = sum(len(group.points) for group in groups)
    largest = tuple(max(point[axis] for group in groups for point in group.points) for axis in (0, 1))
    scaled = sum(group.scaled for group in groups)
    about = f"of {total}, the largest {largest}"
    stored = f"; {scaled} pictures are stored in another size than declared, which is the one that counts" * bool(
        scaled
    )
    if setting != "auto":
        return FoundFrame(setting, resizing, f"coordinates are in {setting} pixels, as set: {about}{stored}")
    pairs = [(group, resized) for group in groups if (resized := _resized(group, resizing))]
    if not pairs:
        reason = f"coordinates are in screenshot pixels: annotators would have enlarged screens so small{stored}"
        return FoundFrame("screenshot", resizing, reason)
    beyond, expected, growth = 0, 0.0, 0
    for group, resized in pairs:
        shot = Frame("screenshot", group.width, group.height)
        areas = shot.width * shot.height, resized.width * resized.height
        smaller = resized if areas[1] <= areas[0] else shot
        expected += len(group.points) * (1 - min(areas) / max(areas))
        beyond += sum(not smaller.holds(x, y) for x, y in group.points)
        growth += areas[1] - areas[0]
    larger, smaller = ("resized", "screenshot") if growth > 0 else ("screenshot", "resized")
    kind = larger if beyond > _SHARE * expected else smaller
    reason = (
        f"coordinates are in {kind} pixels: {about}, {beyond} lie beyond the {smaller} image"
        f" ({expected:.0f} would, were they spread over the {larger} image){stored}"
    )
    if not beyond and 0 < expected < _FEW:
        return FoundFrame(kind, resizing, reason, "so few coordinates that they fit both images")
    return FoundFrame(kind, resizing, reason, _short_reach([group for group, _ in pairs], kind, resizing))


def _resized(group: Seen, resizing: Resizing) -> Frame | None:
    """The image that a screenshot was resized to; None where the resizing cannot have made one."""
    if group.width * group.height * resizing.scale**2 < resizing.min_pixels:
        return None
    try:
        return Frame("resized", *resizing.model_size(group.width, group.height))
    except ValueError:
        return None


def _short_reach(groups: Sequence[Seen], kind: Literal["screenshot", "resized"], resizing: Resizing) -> str:
    """Say that many coordinates leave a large part of the screen untouched; "" where they do not."""
    found = FoundFrame(kind, resizing, "")
    frames = [(found.of(group.width, group.height), group.points) for group in groups]
    across = max(x / frame.width for frame, points in frames for x, _ in points)
    down = max(y / frame.height for frame, points in frames for _, y in points)
    reached = all(reach >= least for reach, least in zip(sorted((across, down)), _REACH, strict=True))
    if reached or sum(len(points) for _, points in frames) < _MANY:
        return ""
    return f"they reach over {across:.0%} of the image's width and {down:.0%} of its height only"
