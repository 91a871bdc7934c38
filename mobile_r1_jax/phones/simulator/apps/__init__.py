"""The apps of a simulated phone: each file one app, this one the list of them.

An app is a function from the phone's state to the elements of its current page; what an element does when touched is an
effect on that state. `fresh` gives an app's data on a phone as it comes out of a reset, with everything that can be
shuffled shuffled.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from mobile_r1_jax.phones.simulator.apps import clock, launcher, messages, settings, shop
from mobile_r1_jax.phones.simulator.screen import Element
from mobile_r1_jax.phones.simulator.state import State


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


def decoy(label: str, accent: int) -> App:
    """An app that leads nowhere: the dead end of whoever opens the wrong one."""
    name = label.lower()
    title = [Element(label, "title", (0, 0, 4, 1)), Element("Empty", "line", (0, 3, 4, 1))]
    return App(name, label, f"com.sim.{name}", accent, lambda rng: {}, lambda state: list(title))


APPS: dict[str, App] = {
    app.name: app
    for app in (
        App("launcher", "Launcher", "com.sim.launcher", 5, launcher.fresh, launcher.elements),
        App("settings", "Settings", "com.sim.settings", 7, settings.fresh, settings.elements),
        App("shop", "Shop", "com.sim.shop", 0, shop.fresh, shop.elements, typed=shop.typed),
        App(
            "messages",
            "Messages",
            "com.sim.messages",
            2,
            messages.fresh,
            messages.elements,
            typed=messages.typed,
            entered=messages.entered,
        ),
        App("clock", "Clock", "com.sim.clock", 4, clock.fresh, clock.elements, typed=clock.typed),
        decoy("Camera", 1),
        decoy("Music", 6),
        decoy("Maps", 2),
        decoy("Photos", 3),
    )
}
LABELS: dict[str, str] = {app.label: app.name for app in APPS.values() if app.name != "launcher"}
