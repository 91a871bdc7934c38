"""Screens of a simulated phone: elements on a grid of 4 x 8 cells, drawn at any screen size.

A cell is a quarter of the width and an eighth of the height, for example on 112x224 or 1080x2400 pixels. Each name is
drawn as text with its own glyph (shape and colour). The tint of the wallpaper changes slightly from left to right and
from top to bottom.
"""

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw

from mobile_r1_jax.phones.simulator.icons import COLOURS, glyph_of
from mobile_r1_jax.phones.simulator.text import draw_text

COLUMNS, ROWS = 4, 8
SMALLEST, LARGEST, MOST_STRETCHED = 40, 9999, 4
Effect = Callable[[Any], None]
"""The change of the phone's state by a gesture on an element; see `state.State`."""


@dataclass(frozen=True)
class Element:
    """One element of a screen. `cell` is (column, row, columns, rows) in grid cells."""

    name: str
    kind: str  # title, tile, row, switch, field, button, line, card, dark
    cell: tuple[int, int, int, int]
    tap: Effect | None = None
    long_press: Effect | None = None
    value: str = ""  # a switch's "on" or "off"; a field's text
    focused: bool = False  # whether typed text goes into this field

    def bounds(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return (x1, y1, x2, y2) in device pixels on a screen of `size`; x2 and y2 are exclusive."""
        width, height = size
        column, row, columns, rows = self.cell
        return (
            column * width // COLUMNS,
            row * height // ROWS,
            (column + columns) * width // COLUMNS,
            (row + rows) * height // ROWS,
        )

    def center(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the center (x, y) in device pixels."""
        x1, y1, x2, y2 = self.bounds(size)
        return (x1 + x2) // 2, (y1 + y2) // 2

    @property
    def touchable(self) -> bool:
        return self.tap is not None or self.long_press is not None


@dataclass(frozen=True)
class Screen:
    """The current screen. Later elements are above earlier ones."""

    page: str
    accent: int
    elements: tuple[Element, ...]

    def find(self, name: str) -> Element | None:
        """Return the topmost touchable element with that name."""
        return next(
            (element for element in reversed(self.elements) if element.name == name and element.touchable), None
        )

    def at(self, x: int, y: int, size: tuple[int, int]) -> Element | None:
        """Return the topmost element at (x, y) in device pixels."""
        for element in reversed(self.elements):
            x1, y1, x2, y2 = element.bounds(size)
            if x1 <= x < x2 and y1 <= y < y2:
                return element
        return None


def check_size(size: tuple[int, int]) -> None:
    """Raise ValueError if a screen of `size` (width, height) cannot be drawn."""
    if not SMALLEST <= min(size) <= max(size) <= min(LARGEST, MOST_STRETCHED * min(size)):
        raise ValueError(
            f"screen size {size[0]}x{size[1]}: each side must have {SMALLEST} to {LARGEST} pixels, at most "
            f"{MOST_STRETCHED} times as many as the other"
        )


def draw(screen: Screen, size: tuple[int, int]) -> bytes:
    """Return PNG bytes of the screen at `size` (width, height), RGB. The same screen gives the same bytes."""
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
    red, blue = (channel.point(lambda value: 190 + value * 65 // 255) for channel in (horizontal, vertical))
    return Image.merge("RGB", (red, Image.new("L", size, 240), blue))


@functools.lru_cache(maxsize=8)
def one_colour(size: tuple[int, int], colour: str) -> bytes:
    """Return PNG bytes of a screen of `size` (width, height) in one colour."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


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


def draw_title(pen: ImageDraw.ImageDraw, element: Element, box: tuple[int, int, int, int], accent: Any) -> None:
    x1, y1, x2, y2 = box
    pen.rectangle((x1, y1, x2, y2 - 1), fill=accent)
    draw_named(pen, element.name, element, box, (255, 255, 255))


def draw_named(
    pen: ImageDraw.ImageDraw, name: str, element: Element, box: tuple[int, int, int, int], fill: tuple[int, int, int]
) -> None:
    """Draw a name's glyph in the first cell and the name next to it."""
    x1, y1, x2, y2 = box
    side = (x2 - x1) // element.cell[2]
    draw_glyph(pen, name, (x1, y1, x1 + side, y2))
    draw_text(pen, name, (x1 + side + 1, y1, x2, y2), fill)


def draw_tile(pen: ImageDraw.ImageDraw, element: Element, box: tuple[int, int, int, int], accent: Any) -> None:
    draw_glyph(pen, element.name, box)


def draw_row(pen: ImageDraw.ImageDraw, element: Element, box: tuple[int, int, int, int], accent: Any) -> None:
    x1, _, x2, y2 = box
    draw_named(pen, element.name, element, box, (20, 20, 20))
    pen.line((x1, y2 - 1, x2, y2 - 1), fill=(150, 150, 150))


def draw_switch(pen: ImageDraw.ImageDraw, element: Element, box: tuple[int, int, int, int], accent: Any) -> None:
    draw_row(pen, element, box, accent)
    x1, y1, x2, y2 = box
    on, h = element.value == "on", (y2 - y1) // 4
    cy, left, right = (y1 + y2) // 2, x2 - (x2 - x1) // element.cell[2] + h // 2, x2 - h // 2
    pen.rounded_rectangle((left, cy - h, right, cy + h), radius=h, fill=(0, 170, 80) if on else (120, 120, 120))
    knob = right - 2 * h if on else left
    pen.ellipse((knob + 1, cy - h + 1, knob + 2 * h - 1, cy + h - 1), fill=(255, 255, 255))


def draw_button(pen: ImageDraw.ImageDraw, element: Element, box: tuple[int, int, int, int], accent: Any) -> None:
    draw_frame(pen, box, accent)
    draw_named(pen, element.name, element, box, (20, 20, 20))


def draw_frame(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], outline: Any) -> None:
    x1, y1, x2, y2 = box
    pen.rounded_rectangle(
        (x1, y1, x2 - 1, y2 - 1), radius=(y2 - y1) // 5, fill=(255, 255, 255), outline=outline, width=2
    )


def draw_field(pen: ImageDraw.ImageDraw, element: Element, box: tuple[int, int, int, int], accent: Any) -> None:
    draw_frame(pen, box, accent)
    draw_named(pen, element.value or element.name, element, box, (20, 20, 20) if element.value else (130, 130, 130))


def draw_line(pen: ImageDraw.ImageDraw, element: Element, box: tuple[int, int, int, int], accent: Any) -> None:
    draw_named(pen, element.name, element, box, (60, 60, 60))


def draw_card(pen: ImageDraw.ImageDraw, element: Element, box: tuple[int, int, int, int], accent: Any) -> None:
    x1, y1, x2, y2 = box
    inset, row = (x2 - x1) // 40, (y2 - y1) // element.cell[3]
    frame = (x1 + inset, y1 + inset, x2 - inset, y2 - inset)
    pen.rounded_rectangle(frame, radius=4 * inset, fill=(255, 250, 225), outline=(30, 30, 36), width=max(1, inset))
    draw_named(pen, element.name, element, (x1, y1, x2, y1 + row), (180, 30, 30))


def draw_dark(pen: ImageDraw.ImageDraw, element: Element, box: tuple[int, int, int, int], accent: Any) -> None:
    pen.rectangle(box, fill=(0, 0, 0))


DRAWERS = {
    "title": draw_title,
    "tile": draw_tile,
    "row": draw_row,
    "switch": draw_switch,
    "button": draw_button,
    "field": draw_field,
    "line": draw_line,
    "card": draw_card,
    "dark": draw_dark,
}
