"""What an app of the simulated phone is.

An app is a function from the phone's state to the elements of its current page; what an element does when touched is an
effect on that state. `fresh` gives an app's data on a phone as it comes out of a reset, with everything that can be
shuffled shuffled.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from mobile_r1_jax.phones.simulator.screen import Element
from mobile_r1_jax.phones.simulator.state import Popup, State


@dataclass(frozen=True)
class App:
    name: str  # first part of its pages
    label: str  # what the launcher and `open` call it
    package: str
    accent: int
    fresh: Callable[[Random], dict[str, Any]]
    elements: Callable[[State], list[Element]]
    typed: Callable[[State, str], None] | None = None  # what text does on the app's current page
    entered: Callable[[State], None] | None = None  # what the Enter key does
    choose: Callable[[State, str, str], None] | None = None  # what a choice does in the menu of a long-pressed name
    scrolls: Callable[[str], bool] = lambda page: False  # whether a page is longer than the screen
    popups: tuple[Popup, ...] = ()  # windows that may open over any app


def decoy(label: str, accent: int) -> App:
    """An app that leads nowhere: the dead end of whoever opens the wrong one."""
    name = label.lower()
    title = [Element(label, "title", (0, 0, 4, 1)), Element("Empty", "line", (0, 3, 4, 1))]
    return App(name, label, f"com.sim.{name}", accent, lambda rng: {}, lambda state: list(title))
