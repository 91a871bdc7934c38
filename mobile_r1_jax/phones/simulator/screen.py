"""What a simulated phone shows: elements on a grid of 4 x 8 cells, drawn at any screen size.

A cell is a quarter of the width and an eighth of the height, so the same screen is 112x224 for the demo and 1080x2400
for a phone-sized one. Names are drawn as text beside a glyph of their own (shape and colour), over a wallpaper whose
tint changes a little from left to right and from top to bottom.
"""

import functools
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

COLUMNS, ROWS = 4, 8
Effect = Callable[[Any], None]
"""What a gesture on an element does to the phone's state; see `device.State`."""

COLOURS = (
    (214, 48, 49),
    (9, 132, 227),
    (0, 148, 100),
    (232, 140, 0),
    (108, 60, 190),
    (30, 30, 36),
    (212, 60, 150),
    (110, 76, 40),
)
SHAPES = ("disc", "square", "triangle", "diamond", "ring", "cross", "bars", "hourglass")


@dataclass(frozen=True)
class Element:
    """One thing on the screen. `cell` is (column, row, columns, rows) in grid cells."""

    name: str
    kind: str  # title, tile, row, switch, field, button, line
    cell: tuple[int, int, int, int]
    tap: Effect | None = None
    long_press: Effect | None = None
    value: str = ""  # a switch's "on" or "off"; a field's text

    def bounds(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """(x1, y1, x2, y2) in device pixels on a screen of `size`; x2 and y2 belong to the neighbour."""
        width, height = size
        column, row, columns, rows = self.cell
        return (
            column * width // COLUMNS,
            row * height // ROWS,
            (column + columns) * width // COLUMNS,
            (row + rows) * height // ROWS,
        )

    def center(self, size: tuple[int, int]) -> tuple[int, int]:
        """(x, y) in device pixels."""
        x1, y1, x2, y2 = self.bounds(size)
        return (x1 + x2) // 2, (y1 + y2) // 2

    @property
    def touchable(self) -> bool:
        return self.tap is not None or self.long_press is not None


@dataclass(frozen=True)
class Screen:
    """What is on the screen now; later elements lie on top of earlier ones."""

    page: str
    accent: int
    elements: tuple[Element, ...]

    def find(self, name: str) -> Element | None:
        """The topmost touchable element of that name."""
        return next(
            (element for element in reversed(self.elements) if element.name == name and element.touchable), None
        )

    def at(self, x: int, y: int, size: tuple[int, int]) -> Element | None:
        """The topmost element at (x, y) in device pixels."""
        for element in reversed(self.elements):
            x1, y1, x2, y2 = element.bounds(size)
            if x1 <= x < x2 and y1 <= y < y2:
                return element
        return None


def draw(screen: Screen, size: tuple[int, int]) -> bytes:
    """PNG bytes of the screen at `size` (width, height), RGB; the same screen gives the same bytes."""
    image = wallpaper(size).copy()
    pen = ImageDraw.Draw(image)
    for element in screen.elements:
        DRAWERS[element.kind](pen, element, element.bounds(size), COLOURS[screen.accent % len(COLOURS)])
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


@functools.lru_cache(maxsize=4)
def wallpaper(size: tuple[int, int]) -> Image.Image:
    width, height = size
    horizontal = Image.linear_gradient("L").rotate(90).resize(size)
    vertical = Image.linear_gradient("L").resize((width, height))
    tint = lambda channel, low: channel.point(lambda value: low + value * (255 - low) // 255)  # noqa: E731
    return Image.merge("RGB", (tint(horizontal, 190), Image.new("L", size, 240), tint(vertical, 190)))


@functools.lru_cache(maxsize=8)
def font(pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=pixels)  # the one font inside Pillow: the same everywhere


@functools.lru_cache(maxsize=1024)
def glyph_of(name: str) -> tuple[str, tuple[int, int, int], tuple[int, int, int]]:
    """(shape, colour, ground) that a name always has, here or on any other machine."""
    digest = hashlib.sha256(name.encode()).digest()
    return (
        SHAPES[digest[0] % 8],
        COLOURS[digest[1] % 8],
        ((255, 255, 255), (255, 224, 120), (170, 225, 255))[digest[2] % 3],
    )


def draw_glyph(pen: ImageDraw.ImageDraw, name: str, box: tuple[int, int, int, int]) -> None:
    shape, colour, ground = glyph_of(name)
    x1, y1, x2, y2 = box
    side = min(x2 - x1, y2 - y1)
    margin = side // 8
    cx, cy, r = (x1 + x2) // 2, (y1 + y2) // 2, side // 2 - margin
    pen.rounded_rectangle((cx - r, cy - r, cx + r - 1, cy + r - 1), radius=r // 3, fill=ground)
    r = r * 3 // 4
    left, top, right, bottom = cx - r, cy - r, cx + r - 1, cy + r - 1
    if shape == "disc":
        pen.ellipse((left, top, right, bottom), fill=colour)
    elif shape == "square":
        pen.rectangle((left, top, right, bottom), fill=colour)
    elif shape == "triangle":
        pen.polygon(((cx, top), (right, bottom), (left, bottom)), fill=colour)
    elif shape == "diamond":
        pen.polygon(((cx, top), (right, cy), (cx, bottom), (left, cy)), fill=colour)
    elif shape == "ring":
        pen.ellipse((left, top, right, bottom), outline=colour, width=max(2, r // 2))
    elif shape == "cross":
        pen.rectangle((cx - r // 3, top, cx + r // 3, bottom), fill=colour)
        pen.rectangle((left, cy - r // 3, right, cy + r // 3), fill=colour)
    elif shape == "bars":
        for k in range(3):
            y = top + k * (bottom - top) // 3
            pen.rectangle((left, y, right, y + (bottom - top) // 6), fill=colour)
    else:
        pen.polygon(((left, top), (right, top), (left, bottom), (right, bottom)), fill=colour)


def draw_text(pen: ImageDraw.ImageDraw, text: str, box: tuple[int, int, int, int], fill: Any, *, middle: bool) -> None:
    x1, y1, x2, y2 = box
    text = text.replace("\n", " ")  # there is one line; whatever is typed must be drawn
    pixels = max(8, (y2 - y1) * 3 // 7)
    while pixels > 8 and pen.textlength(text, font=font(pixels)) > x2 - x1:
        pixels -= 1
    x, anchor = ((x1 + x2) // 2, "mm") if middle else (x1, "lm")
    pen.text((x, (y1 + y2) // 2), text, fill=fill, font=font(pixels), anchor=anchor)


def draw_title(pen: ImageDraw.ImageDraw, element: Element, box: tuple[int, int, int, int], accent: Any) -> None:
    x1, y1, x2, y2 = box
    pen.rectangle((x1, y1, x2, y2 - 1), fill=accent)
    draw_text(pen, element.name, (x1 + (y2 - y1) // 4, y1, x2, y2), (255, 255, 255), middle=False)


def draw_tile(pen: ImageDraw.ImageDraw, element: Element, box: tuple[int, int, int, int], accent: Any) -> None:
    draw_glyph(pen, element.name, box)


def draw_row(pen: ImageDraw.ImageDraw, element: Element, box: tuple[int, int, int, int], accent: Any) -> None:
    x1, y1, x2, y2 = box
    side = (x2 - x1) // element.cell[2]
    draw_glyph(pen, element.name, (x1, y1, x1 + side, y2))
    end = x2 - side if element.kind == "switch" else x2
    draw_text(pen, element.name, (x1 + side + 1, y1, end, y2), (20, 20, 20), middle=False)
    pen.line((x1, y2 - 1, x2, y2 - 1), fill=(150, 150, 150))
    if element.kind == "switch":
        on, h = element.value == "on", (y2 - y1) // 4
        cy, left, right = (y1 + y2) // 2, x2 - side + h // 2, x2 - h // 2
        pen.rounded_rectangle((left, cy - h, right, cy + h), radius=h, fill=(0, 170, 80) if on else (120, 120, 120))
        knob = right - 2 * h if on else left
        pen.ellipse((knob + 1, cy - h + 1, knob + 2 * h - 1, cy + h - 1), fill=(255, 255, 255))


def draw_button(pen: ImageDraw.ImageDraw, element: Element, box: tuple[int, int, int, int], accent: Any) -> None:
    x1, y1, x2, y2 = box
    inset = (y2 - y1) // 9
    shape_colour = glyph_of(element.name)[1]
    pen.rounded_rectangle((x1 + inset, y1 + inset, x2 - inset, y2 - inset), radius=inset * 2, fill=shape_colour)
    draw_text(pen, element.name, (x1 + 2 * inset, y1, x2 - 2 * inset, y2), (255, 255, 255), middle=True)


def draw_field(pen: ImageDraw.ImageDraw, element: Element, box: tuple[int, int, int, int], accent: Any) -> None:
    x1, y1, x2, y2 = box
    inset = (y2 - y1) // 9
    pen.rounded_rectangle(
        (x1 + inset, y1 + inset, x2 - inset, y2 - inset),
        radius=inset * 2,
        fill=(255, 255, 255),
        outline=accent,
        width=2,
    )
    shown = element.value or element.name
    colour = (20, 20, 20) if element.value else (130, 130, 130)
    draw_text(pen, shown, (x1 + 3 * inset, y1, x2 - 3 * inset, y2), colour, middle=False)


def draw_line(pen: ImageDraw.ImageDraw, element: Element, box: tuple[int, int, int, int], accent: Any) -> None:
    x1, y1, x2, y2 = box
    draw_text(pen, element.name, (x1 + (y2 - y1) // 4, y1, x2, y2), (60, 60, 60), middle=False)


def draw_card(pen: ImageDraw.ImageDraw, element: Element, box: tuple[int, int, int, int], accent: Any) -> None:
    x1, y1, x2, y2 = box
    inset = (x2 - x1) // 40
    pen.rounded_rectangle(
        (x1 + inset, y1 + inset, x2 - inset, y2 - inset),
        radius=4 * inset,
        fill=(255, 250, 225),
        outline=(30, 30, 36),
        width=max(1, inset),
    )
    row = (y2 - y1) // element.cell[3]
    draw_text(pen, element.name, (x1 + 4 * inset, y1, x2 - 4 * inset, y1 + row), (180, 30, 30), middle=True)


DRAWERS = {
    "title": draw_title,
    "tile": draw_tile,
    "row": draw_row,
    "switch": draw_row,
    "button": draw_button,
    "field": draw_field,
    "line": draw_line,
    "card": draw_card,
}
