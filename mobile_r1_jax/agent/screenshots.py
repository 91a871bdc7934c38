"""Screenshots as encoded bytes, their size as model images, and their patches.

A screenshot stays an encoded PNG until its patches are needed, as many decoded images would fill the host memory.
"""

from __future__ import annotations

import hashlib
import io
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

import numpy as np
from PIL import Image

from mobile_r1_jax.agent.frames import Frame

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"\0\0\0\0IEND\xaeB`\x82"  # the last chunk of every PNG, its checksum included
_MEAN = np.array([0.48145466, 0.4578275, 0.40821073])  # CLIP's, as Qwen2.5-VL's processor uses them
_STD = np.array([0.26862954, 0.26130258, 0.27577711])
# Every channel value after rescaling and normalising, float32 [256, 3].
_NORMALIZED = ((np.arange(256)[:, None] / 255 - _MEAN) / _STD).astype(np.float32)
_LONGEST_ASPECT = 200  # smart_resize accepts no longer image
LONGEST_SIDE = 16_384  # pixels, longer than any screen: a header with more is broken, and decoding fills the memory
_MOST_PIXELS = 40_000_000  # an 8K screen has 33 million
_TEMPORAL = 2  # Qwen2.5-VL's temporal patch size: a still image is two equal frames


@dataclass(frozen=True)
class Screenshot:
    """Encoded PNG bytes. Bytes after the end of the PNG are dropped.

    Raise ValueError when they do not begin and end like the PNG of a screen, or are a video.
    """

    png: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.png[4:8] == b"ftyp" or self.png[:4] == b"\x1aE\xdf\xa3":  # MP4, as screenrecord has it, and WebM
            raise ValueError(f"screenshot is a video of {len(self.png)} bytes; give its frames as PNGs, one a turn")
        if self.png[:8] != SIGNATURE or self.png[12:16] != b"IHDR":
            raise ValueError(f"screenshot is no PNG: {len(self.png)} bytes that begin with {self.png[:8]!r}")
        end = self.png.rfind(_END) + len(_END)
        if end < len(_END):
            raise ValueError(f"screenshot is cut short: a PNG of {len(self.png)} bytes with no end; take it again")
        if end < len(self.png):
            object.__setattr__(self, "png", self.png[:end])
        check_screen_size(self.width, self.height)

    @cached_property
    def width(self) -> int:
        """Return pixels, from the header."""
        return int.from_bytes(self.png[16:20], "big")

    @cached_property
    def height(self) -> int:
        """Return pixels, from the header."""
        return int.from_bytes(self.png[20:24], "big")

    @cached_property
    def sha(self) -> str:
        """Return the SHA-256 of the bytes, in hex."""
        return hashlib.sha256(self.png).hexdigest()

    @property
    def frame(self) -> Frame:
        """Return the frame of this screenshot's own pixels."""
        return Frame("screenshot", self.width, self.height)

    def verify(self) -> None:
        """Compare every chunk with its checksum, without decoding. Raise ValueError when one is damaged."""
        for _ in chunks(self.png):
            pass

    def image(self) -> Image.Image:
        """Decode to RGB, with transparency on white as `transformers` does. Raise OSError if it is broken."""
        return to_rgb(Image.open(io.BytesIO(self.png)))


def check_screen_size(width: int, height: int) -> None:
    """Raise ValueError for a size that no screen has, or a shape that the model does not accept."""
    short, long = sorted((width, height))
    possible = 0 < short <= long <= min(LONGEST_SIDE, _LONGEST_ASPECT * short) and short * long <= _MOST_PIXELS
    if not possible:
        raise ValueError(f"screenshot of {width}x{height} pixels is not a screen")


def chunks(png: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (kind, content) of each chunk of a PNG up to its end. Raise ValueError where a checksum is wrong."""
    rest = memoryview(png)[len(SIGNATURE) :]
    while len(rest) >= 12:  # length (4 bytes), kind (4), content, checksum (4)
        end = int.from_bytes(rest[:4], "big") + 8
        if zlib.crc32(rest[4:end]) != int.from_bytes(rest[end : end + 4], "big"):
            raise ValueError(f"screenshot is damaged: a wrong checksum at byte {len(png) - len(rest)}")
        kind = bytes(rest[4:8])
        yield kind, rest[8:end]
        if kind == b"IEND":
            return
        rest = rest[end + 4 :]
    raise ValueError("screenshot is damaged: its last chunk is cut short")


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image as 8-bit RGB: transparency on white; 16-bit gray keeps its high byte."""
    if image.mode.startswith("I"):  # 16-bit gray: `convert` would clip at 255. Pillow reads 16-bit colors as 8 bits.
        gray = np.asarray(image)
        shades = (gray >> 8).astype(np.uint8)
        shades[gray == image.info.get("transparency", -1)] = 255
        image = Image.fromarray(shades)
    elif "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def smart_resize(width: float, height: float, *, factor: int = 28, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Return the (width, height) at which Qwen2.5-VL sees an image: multiples of `factor`, with an area in the limits.

    Round each side to a multiple of `factor` (halves to even, as Python's `round`). Above `max_pixels`, divide by
    sqrt(area / max_pixels) and round down; below `min_pixels`, scale up and round up. Equal to `transformers`.
    Raise ValueError when one side is more than 200 times the other.
    """
    if max(width, height) > _LONGEST_ASPECT * min(width, height):
        raise ValueError(f"cannot resize {width:g}x{height:g}: one side is more than {_LONGEST_ASPECT} times the other")
    new_width, new_height = round(width / factor) * factor, round(height / factor) * factor
    if new_width * new_height > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        new_width = max(factor, math.floor(width / shrink / factor) * factor)
        new_height = max(factor, math.floor(height / shrink / factor) * factor)
    elif new_width * new_height < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        new_width = math.ceil(width * grow / factor) * factor
        new_height = math.ceil(height * grow / factor) * factor
    return new_width, new_height


@dataclass(frozen=True)
class Resizing:
    """How screenshots become model images. Default: a scale of 0.3, then smart_resize within 401,408 pixels [kin].

    min_pixels is the smallest value that Qwen's own tools use. The image is resampled once, to the final size [ours].
    """

    scale: Annotated[float, "(0, inf)"] = 0.3  # of both sides, before they are rounded [kin]
    factor: Annotated[int, "[1, inf)"] = 28  # both sides become multiples of it, in pixels
    min_pixels: Annotated[int, "[1, inf)"] = 4 * 28 * 28  # least area of a model image
    max_pixels: Annotated[int, "[1, inf)"] = 401_408  # largest area of a model image [kin]

    def __post_init__(self) -> None:
        if not (0 < self.scale < math.inf and self.factor > 0 and 0 < self.min_pixels <= self.max_pixels):
            raise ValueError(f"impossible resizing {self}: all must be positive and min_pixels at most max_pixels")

    def model_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) in pixels at which the model sees a width x height screenshot."""
        scaled_width, scaled_height = width * self.scale, height * self.scale
        if scaled_width * scaled_height > self.max_pixels:
            # Above max_pixels before rounding: start from the full size. Otherwise rounding could end below max_pixels
            # without the reduction (432x960 to 420x952); the published 1440x3200 must give 420x924 [kin].
            scaled_width, scaled_height = max(width, scaled_width), max(height, scaled_height)
        return smart_resize(
            scaled_width,
            scaled_height,
            factor=self.factor,
            min_pixels=self.min_pixels,
            max_pixels=self.max_pixels,
        )

    def model_frame(self, screenshot: Screenshot) -> Frame:
        """Return the frame in which the model sees this screenshot and gives coordinates."""
        return Frame("model", *self.model_size(screenshot.width, screenshot.height))


PUBLISHED_RESIZING = Resizing()


def blank_screenshot(size: tuple[int, int]) -> Screenshot:
    """Return a white screenshot of `size` (width, height) in pixels."""
    png = io.BytesIO()
    Image.new("RGB", size, "white").save(png, "PNG")
    return Screenshot(png.getvalue())


def patches(screenshot: Screenshot, size: tuple[int, int], *, patch: int = 14, merge: int = 2) -> np.ndarray:
    """Return the screenshot at `size` (width, height) as vision patches: float32 [N, 3 * 2 * patch * patch].

    N = (height / patch) * (width / patch). Patches are ordered by blocks of merge x merge patches: blocks in reading
    order, and patches in reading order in each block. Columns are (channel, time, row, column); both times are equal.
    The image is resampled (bicubic, 8 bits) and normalized by CLIP's mean and standard deviation, equal to
    `transformers`' Qwen2VLImageProcessor. Raise ValueError when `size` is not a multiple of patch * merge, OSError for
    a broken PNG.
    """
    width, height = size
    block = patch * merge
    if width % block or height % block:
        raise ValueError(f"model size {width}x{height} is not a multiple of {block}: take it from Resizing.model_size")
    image = screenshot.image()
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    pixels = _NORMALIZED[np.asarray(image), np.arange(3)]  # [height, width, 3]
    blocks = pixels.reshape(height // block, merge, patch, width // block, merge, patch, 3)
    blocks = blocks.transpose(0, 3, 1, 4, 6, 2, 5)  # [rows, columns, merge, merge, channel, patch, patch]
    rows = blocks.reshape(-1, 3, 1, patch * patch)
    return np.repeat(rows, _TEMPORAL, axis=2).reshape(len(rows), -1)
