"""Conversion of picture files to screenshots.

A PNG keeps its bytes. A JPEG or WebP becomes a PNG of the same pixels, as every screenshot is a PNG.
"""

from __future__ import annotations

import io
import zlib

from PIL import Image, ImageOps

from mobile_r1_jax.agent.screenshots import SIGNATURE, Screenshot, check_screen_size, chunks, to_rgb

# Adam7: (first column, first row, column step, row step) of each pass of an interlaced PNG.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG's color types
_UPRIGHT = 1  # the EXIF orientation of a picture that is not rotated
_ORIENTATION = 0x0112
_PIECE = 1 << 20  # bytes


def read_picture(data: bytes) -> Screenshot:
    """Return a PNG, JPEG or WebP file as a screenshot.

    A picture with an EXIF orientation is rotated upright, as viewers show it. Checksums are verified; the pixels of a
    PNG are not decoded (`check_pixels` does that). Raise ValueError in one line for a file of another type, and for one
    that is damaged, animated or of a size that no screen has.
    """
    if data.startswith(SIGNATURE):
        screenshot = Screenshot(data)
        screenshot.verify()
        kinds = {kind for kind, _ in chunks(screenshot.png)}
        if b"acTL" in kinds:
            raise ValueError(f"screenshot is an animation; {_AS_FRAMES}")
        return Screenshot(_converted(data)) if b"eXIf" in kinds and _is_rotated(data) else screenshot
    if data.startswith(b"\xff\xd8\xff") or (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
        return Screenshot(_converted(data))
    return Screenshot(data)  # raises ValueError: it is not a PNG


def check_pixels(screenshot: Screenshot) -> None:
    """Decode all pixels. Raise ValueError in one line when some are missing or cannot be decoded."""
    try:
        screenshot.image()
    except Exception as error:  # Pillow raises errors of many types on damaged files
        raise ValueError(f"screenshot is damaged: {error}") from error
    # Pillow leaves missing rows black without an error when the compressed data is intact but too short.
    expected, found = _pixel_bytes(screenshot.png), 0
    inflate = zlib.decompressobj()
    for kind, content in chunks(screenshot.png):
        while kind == b"IDAT" and found < expected:
            piece = inflate.decompress(content, _PIECE)
            found, content = found + len(piece), inflate.unconsumed_tail
            if not content and len(piece) < _PIECE:
                break
    if found < expected:
        raise ValueError(f"screenshot is damaged: {found} bytes of pixels, its size needs {expected}")


_AS_FRAMES = "give its frames as pictures, one a turn"


def _is_rotated(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        return image.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT


def _converted(data: bytes) -> bytes:
    """Decode the first picture of a file and encode it as PNG."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
            check_screen_size(*image.size)
            animated = image.format == "WEBP" and image.is_animated
            upright = None if animated else to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # Pillow raises errors of many types on damaged files
        raise ValueError(f"screenshot cannot be decoded: {error}") from error
    if upright is None:
        raise ValueError(f"screenshot is an animation; {_AS_FRAMES}")
    file = io.BytesIO()
    upright.save(file, "PNG", compress_level=1, icc_profile=None)
    return file.getvalue()


def _pixel_bytes(png: bytes) -> int:
    """Return the size in bytes of a PNG's decompressed pixel data. Each row has one more byte for its filter."""
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    bits, color, interlaced = png[24], png[25], png[28]
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // right), -(-(height - y) // down)) for x, y, right, down in passes]
    return sum(
        rows * (1 + -(-columns * bits * _CHANNELS[color] // 8)) for columns, rows in sizes if columns > 0 and rows > 0
    )
