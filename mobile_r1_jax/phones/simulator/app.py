"""The definition of an app of the simulated phone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from mobile_r1_jax.phones.simulator.screen import Element
from mobile_r1_jax.phones.simulator.state import Popup, State


class Rows(NamedTuple):
    """A table that other programs may read: the names of its columns, and its rows."""

    columns: tuple[str, ...]
    rows: list[tuple[str | int, ...]]


@dataclass(frozen=True)
class App:
    """One app. `elements` maps the phone's state to the elements of the app's current page; their effects change it."""

    name: str  # the first part of its page paths
    label: str  # its name in the launcher and for `open`
    package: str
    accent: int
    fresh: Callable[[Random], dict[str, Any]]  # the app's data after a reset, in random order
    elements: Callable[[State], list[Element]]
    typed: Callable[[State], None] | None = None  # further effect of a change of the focused field's text
    entered: Callable[[State], None] | None = None  # effect of the Enter key in the focused field
    choose: Callable[[State, str, str], None] | None = None  # effect of a menu choice on a long-pressed name
    scrolls: Callable[[str], bool] = lambda page: False  # whether a page is longer than the screen
    popups: tuple[Popup, ...] = ()  # windows that may open over any app
    system: bool = False  # whether Android counts it among its own apps
    affinity: str = ""  # the affinity of its task if that is not its package
    intents: Mapping[str, str] = field(default_factory=dict)  # the action of an intent -> the page that it opens
    links: Callable[[str], str] = lambda uri: ""  # the page that a link opens; "" for links of other apps
    performs: Mapping[str, Callable[[State, Mapping[str, str]], bool]] = field(default_factory=dict)
    # the action of an intent -> its effect, given the extras; returns whether the app opens
    alarms: Callable[[Any], list[str]] = lambda data: []  # the times, as HH:MM, of the alarms that are on
    tables: Callable[[Any], dict[str, Rows]] = lambda data: {}  # content:// path -> its rows


def activity_of(page: str) -> str:
    """Return the Android activity, inside its package, that shows a page."""
    return f".{page.split('/')[1].title()}Activity"


def decoy(label: str, accent: int, links: Callable[[str], str] = lambda uri: "", *, affinity: str = "") -> App:
    """Return an app with one empty page. To open it is a mistake."""
    name = label.lower()
    title = [Element(label, "title", (0, 0, 4, 1)), Element("Empty", "line", (0, 3, 4, 1))]
    return App(
        name,
        label,
        f"com.sim.{name}",
        accent,
        lambda rng: {},
        lambda state: list(title),
        links=links,
        affinity=affinity,
    )
