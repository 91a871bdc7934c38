"""Detection of the frame of a data file's coordinates: pixels of the screenshot, or of a resized image.

The published data does not say which frame it uses. A setting decides; with "auto", the coordinates themselves decide,
compared with the resizing of the file's annotators. The resizing of the run that reads the file does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from mobile_r1_jax.agent.actions import WITH_ANSWER, Malformed
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.agent.responses import parse_response
from mobile_r1_jax.agent.screenshots import Resizing

FrameSetting = Literal["auto", "screenshot", "resized"]

# Responses are parsed in this frame while the real frame is unknown: every coordinate is inside it.
_ANYWHERE = Frame("screenshot", 1 << 31, 1 << 31)
# The larger image is chosen when the coordinates beyond the smaller image exceed this share of the expected number.
# It is low because taps are not spread evenly, and above 0 because one error must not decide for the whole file.
_SHARE = 0.1
_FEW = 3  # below this expected number, the lack of coordinates beyond the smaller image may be chance
_MANY = 20  # this many coordinates cover most of the screen if the frame is right
_REACH = (1 / 2, 2 / 3)  # the least share of each side that they then cover: the less covered side first


@dataclass(frozen=True)
class CoordinateGroup:
    """Coordinates (x, y) of one file on images of one size, in a frame that is not known yet.

    width, height: of the image that the file declares; scaled: the stored picture has another size.
    """

    points: tuple[tuple[int, int], ...]
    width: int
    height: int
    scaled: bool = False


@dataclass(frozen=True)
class DetectedFrame:
    """The frame of a file's coordinates.

    resizing: of the resized images. reason: why this frame was chosen, in one line. doubt: why it may be wrong, or "".
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
    """Return the coordinates in a response, in its own unknown frame. Return Malformed if it cannot be parsed."""
    parsed = parse_response(response, _ANYWHERE, WITH_ANSWER)
    if isinstance(parsed, Malformed):
        return parsed
    return [(value.x, value.y) for value in vars(parsed.action).values() if isinstance(value, Point)]


def detect_frame(
    groups: Iterable[CoordinateGroup], resizing: Resizing, setting: FrameSetting = "auto", why: str = "as set"
) -> DetectedFrame:
    """Return the frame of one file's coordinates: the one in `setting`, or with "auto" the detected one.

    `why` says who made the setting. `resizing` is that of the file's annotators. The rule counts the coordinates beyond
    the smaller of the two images [ours]. If the file is in pixels of the larger image, 1 - (smaller area / larger area)
    of evenly spread coordinates are beyond the smaller image. More than a tenth of that number selects the larger
    image, else it is the smaller one. Images of equal size count as resized. Screens that the resizing would enlarge
    were not resized.
    """
    groups = [group for group in groups if group.points]
    if not groups:
        return DetectedFrame("resized" if setting == "auto" else setting, resizing, "there are no coordinates")
    total = sum(len(group.points) for group in groups)
    largest = tuple(max(point[axis] for group in groups for point in group.points) for axis in (0, 1))
    scaled = sum(group.scaled for group in groups)
    about = f"of {total}, the largest {largest}"
    stored = f"; {scaled} pictures are stored in another size than declared, which is the one that counts" * bool(
        scaled
    )
    if setting != "auto":
        return DetectedFrame(setting, resizing, f"coordinates are in {setting} pixels, {why}: {about}{stored}")
    pairs = [(group, resized) for group in groups if (resized := _resized(group, resizing))]
    if not pairs:
        reason = f"coordinates are in screenshot pixels: annotators would have enlarged screens so small{stored}"
        return DetectedFrame("screenshot", resizing, reason)
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
        return DetectedFrame(kind, resizing, reason, "so few coordinates that they fit both images")
    return DetectedFrame(kind, resizing, reason, _short_reach([group for group, _ in pairs], kind, resizing))


def _resized(group: CoordinateGroup, resizing: Resizing) -> Frame | None:
    """Return the frame of the resized screenshot, or None if the annotators' resizing does not apply to its size."""
    if group.width * group.height * resizing.scale**2 < resizing.min_pixels:
        return None
    try:
        return Frame("resized", *resizing.model_size(group.width, group.height))
    except ValueError:
        return None


def _short_reach(groups: Sequence[CoordinateGroup], kind: Literal["screenshot", "resized"], resizing: Resizing) -> str:
    """Return a warning if many coordinates cover only a part of the screen, else ""."""
    detected = DetectedFrame(kind, resizing, "")
    frames = [(detected.of(group.width, group.height), group.points) for group in groups]
    across = max(x / frame.width for frame, points in frames for x, _ in points)
    down = max(y / frame.height for frame, points in frames for _, y in points)
    reached = all(reach >= least for reach, least in zip(sorted((across, down)), _REACH, strict=True))
    if reached or sum(len(points) for _, points in frames) < _MANY:
        return ""
    return f"they reach over {across:.0%} of the image's width and {down:.0%} of its height only"
