"""The page in front of a phone as a list of elements, from uiautomator's tree."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from xml.etree.ElementTree import Element as Node

_BOUNDS = re.compile(r"\[(-?\d+),(-?\d+)\]\[(-?\d+),(-?\d+)\]")


@dataclass(frozen=True)
class Element:
    """One element. kind: its class, such as android.widget.Button. bounds: (x1, y1, x2, y2) in device pixels, x2 and y2
    exclusive. touchable: it takes touches. number, parent: its own and its parent's place in the page; -1: none."""

    text: str = ""
    description: str = ""
    resource_id: str = ""
    kind: str = ""
    package: str = ""
    bounds: tuple[int, int, int, int] = (0, 0, 0, 0)
    touchable: bool = False
    focused: bool = False
    number: int = 0
    parent: int = -1

    @property
    def labels(self) -> tuple[str, ...]:
        """Return its words. A text field has none: they are the user's."""
        return () if self.is_field else tuple(dict.fromkeys(filter(None, (self.text, self.description))))

    @property
    def is_button(self) -> bool:
        """Whether its class is a button."""
        return self.kind.endswith("Button")

    @property
    def is_field(self) -> bool:
        """Whether text can be typed into it."""
        return self.kind.endswith(("EditText", "AutoCompleteTextView"))

    def holds(self, x: int, y: int) -> bool:
        """Return whether a point in device pixels is inside."""
        x1, y1, x2, y2 = self.bounds
        return x1 <= x < x2 and y1 <= y < y2

    @property
    def area(self) -> int:
        """Return its area in pixels."""
        x1, y1, x2, y2 = self.bounds
        return max(0, x2 - x1) * max(0, y2 - y1)


@dataclass(frozen=True)
class Page:
    """The elements in the tree's order: parents before children, and covering elements after covered ones."""

    elements: tuple[Element, ...]

    @property
    def package(self) -> str:
        """Return the package in front."""
        return self.elements[0].package

    @property
    def focused(self) -> Element | None:
        """Return the element with the focus: of several, the innermost."""
        return next((element for element in reversed(self.elements) if element.focused), None)

    @cached_property
    def area(self) -> int:
        """Return the area of the largest element in pixels."""
        return max(element.area for element in self.elements)

    def under(self, x: int, y: int) -> list[Element]:
        """Return the elements that a touch reaches, topmost first: as in Android, up to the first that takes it."""
        reached: list[Element] = []
        for element in reversed(self.elements):
            if element.holds(x, y):
                reached.append(element)
                if element.touchable:
                    break
        return reached

    def inside(self, container: Element) -> list[Element]:
        """Return the elements in a container that take no touches themselves."""
        numbers, found = {container.number}, []
        for element in self.elements:
            if element.parent in numbers and not element.touchable:
                numbers.add(element.number)
                found.append(element)
        return found


def page_of(tree: Node | None) -> Page | None:
    """Return the page of a uiautomator tree; None if there is no tree, or it has no elements."""
    elements: list[Element] = []
    waiting: list[tuple[Node, int]] = [] if tree is None else [(node, -1) for node in reversed(tree)]
    while waiting:
        node, parent = waiting.pop()
        waiting += [(child, len(elements)) for child in reversed(node)]
        elements.append(_element(node, len(elements), parent))
    return Page(tuple(elements)) if elements else None


def texts(elements: Sequence[Element]) -> tuple[str, ...]:
    """Return the distinct labels of elements, in order."""
    return tuple(dict.fromkeys(label for element in elements for label in element.labels))


def _element(node: Node, number: int, parent: int) -> Element:
    bounds = _BOUNDS.fullmatch(node.get("bounds", ""))
    return Element(
        node.get("text", ""),
        node.get("content-desc", ""),
        node.get("resource-id", ""),
        node.get("class", ""),
        node.get("package", ""),
        tuple(map(int, bounds.groups())) if bounds else (0, 0, 0, 0),
        any(node.get(name) == "true" for name in ("clickable", "long-clickable", "checkable")),
        node.get("focused") == "true",
        number,
        parent,
    )
