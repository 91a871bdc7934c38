"""Text on simulated screens, in two fonts: Pillow's built-in font, and a shipped font for what that one lacks.

The built-in font has ASCII and a few signs. The shipped font has Chinese, Japanese, Korean, Greek, Cyrillic and letters
with accents; `tools/cjk_font.py` makes it. A character that neither font has is drawn as a crossed box. Both fonts are
the same on every machine.
"""

import functools
import itertools
import unicodedata
from collections.abc import Callable
from pathlib import Path

from PIL import ImageDraw, ImageFont

SHIPPED = Path(__file__).parent / "fonts" / "wqy-microhei-subset.ttf"
SMALLEST = 8  # height in pixels
_NO_CHARACTER = "\uffff"  # a font draws it as it draws every character that it lacks

FontOfSize = Callable[[int], ImageFont.FreeTypeFont]


@functools.lru_cache(maxsize=8)
def built_in_font(pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=pixels)


@functools.lru_cache(maxsize=8)
def shipped_font(pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(SHIPPED, pixels, layout_engine=ImageFont.Layout.BASIC)


@functools.lru_cache(maxsize=4096)
def is_shipped(character: str) -> bool:
    """Return whether the shipped font has `character`. It has none that the built-in font has."""
    font = shipped_font(32)
    return bytes(font.getmask(character)) != bytes(font.getmask(_NO_CHARACTER))


def draw_text(pen: ImageDraw.ImageDraw, text: str, box: tuple[int, int, int, int], fill: tuple[int, int, int]) -> None:
    """Draw `text` on one line from the left of `box` (x1, y1, x2, y2), as large as it fits but at least SMALLEST."""
    x1, y1, x2, y2 = box
    pieces = split_by_font(text.replace("\n", " "))

    def widths(pixels: int) -> list[float]:
        return [pen.textlength(piece, font=font(pixels)) for piece, font in pieces]

    pixels = max(SMALLEST, (y2 - y1) * 3 // 7)
    while pixels > SMALLEST and sum(widths(pixels)) > x2 - x1:
        pixels -= 1
    x, y = float(x1), (y1 + y2) // 2 + _baseline(pixels)
    for (piece, font), width in zip(pieces, widths(pixels), strict=True):
        pen.text((x, y), piece, fill=fill, font=font(pixels), anchor="ls")
        x += width


def split_by_font(text: str) -> list[tuple[str, FontOfSize]]:
    """Return the pieces of `text` in order, each with its font. Accents are joined to their letters first."""
    if text.isascii():
        return [(text, built_in_font)]
    groups = itertools.groupby(unicodedata.normalize("NFC", text), is_shipped)
    return [("".join(group), shipped_font if shipped else built_in_font) for shipped, group in groups]


@functools.lru_cache(maxsize=1024)
def _baseline(pixels: int) -> int:
    """Return how far the baseline is below the middle of a line, in pixels."""
    font = built_in_font(pixels)
    return font.getbbox("x", anchor="lm")[1] - font.getbbox("x", anchor="ls")[1]
