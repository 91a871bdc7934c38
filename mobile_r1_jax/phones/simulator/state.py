"""The state of one simulated phone: plain data, changed only by the effects of gestures and keys.

A page is a path such as "shop/item/Shoes". Each app has a stack of pages. As on a real phone, Back also returns to the
app from which the page was opened.
"""

import copy
from dataclasses import dataclass, field
from typing import Any

from mobile_r1_jax.phones.simulator.screen import Effect
from mobile_r1_jax.phones.simulator.text_field import TextField

LAUNCHER = "launcher/home"


@dataclass(frozen=True)
class Popup:
    """A window above the app. `dismiss` closes it; `accept` closes it and may open a wrong page."""

    title: str
    accept: str
    dismiss: str
    astray: str = ""  # the page that accepting opens
    accept_first: bool = True
    window: str = ""  # the name of its window; empty if it is the app's


@dataclass
class State:
    """All state of a phone. `data` holds one dict per app (JSON types only)."""

    app: str = "launcher"
    stacks: dict[str, list[str]] = field(default_factory=lambda: {"launcher": [LAUNCHER]})
    beneath: str = ""  # the app from which this page was opened; Back returns to it
    data: dict[str, Any] = field(default_factory=dict)
    scroll: int = 0
    edited: TextField | None = None  # the focused text field once its text or cursor has changed
    clipboard: str = ""
    menu: tuple[str, ...] = ()  # the long-pressed name, then the menu's choices
    popup: Popup | None = None
    waiting: list[tuple[int, Popup]] = field(default_factory=list)  # (number of page changes until it opens, pop-up)
    popups_shown: int = 0
    loading: int = 0  # looks at the screen that still show no content
    secure: bool = False  # the page cannot be captured
    volume: int = 5
    awake: bool = True
    lock_screen: bool = False  # whether the phone locks itself when it goes to sleep
    locked: bool = False
    opening: str = ""  # the app or page that opens as soon as the phone is awake and unlocked

    @property
    def text(self) -> str:
        """The text that was typed on this page."""
        return self.edited.text if self.edited else ""

    @property
    def page(self) -> str:
        return self.stacks[self.app][-1]

    def copy(self) -> "State":
        return copy.deepcopy(self)

    def push(self, page: str) -> None:
        """Open a page of any app on top of that app's stack."""
        app = page.split("/")[0]
        self.app, self.beneath = app, (self.app if self.app != app else "")
        stack = self.stacks.setdefault(self.app, [f"{self.app}/home"])
        if stack[-1] != page:
            stack.append(page)
        self.settle()
        self.interrupt()

    def launch(self, app: str) -> None:
        """Open an app at its home page and clear its stack. A sleeping or locked phone opens it later."""
        if not self.awake or self.locked:
            self.opening = app
            return
        self.popup, self.opening = None, ""
        self.app, self.beneath = app, ""
        self.stacks[app] = [f"{app}/home"]
        self.settle()
        self.interrupt()

    def open(self, page: str) -> None:
        """Open a page of any app above the app in front. A sleeping or locked phone opens it later."""
        if not self.awake or self.locked:
            self.opening = page
            return
        self.popup, self.opening = None, ""
        self.push(page)

    def interrupt(self) -> None:
        """Count down the waiting pop-ups and open the first one that is due."""
        self.waiting = [(pages - 1, popup) for pages, popup in self.waiting]
        due = next((entry for entry in self.waiting if entry[0] <= 0), None)
        if due and self.popup is None:
            self.waiting.remove(due)
            self.popup = due[1]
            self.popups_shown += 1

    def back(self) -> None:
        if self.popup is not None:
            self.popup = None
        elif self.menu:
            self.menu = ()
        elif len(self.stacks[self.app]) > 1:
            self.stacks[self.app].pop()
            self.app, self.beneath = self.beneath or self.app, ""
            self.settle()
        else:
            self.home()

    def home(self) -> None:
        self.popup = None
        self.app, self.beneath = "launcher", ""
        self.stacks["launcher"] = [LAUNCHER]
        self.settle()

    def sleep(self) -> None:
        self.awake, self.locked = False, self.locked or self.lock_screen

    def wake(self) -> None:
        self.awake = True
        self.open_waiting()

    def unlock(self) -> None:
        self.locked = False
        self.open_waiting()

    def open_waiting(self) -> None:
        if self.opening:
            self.open(self.opening) if "/" in self.opening else self.launch(self.opening)

    def settle(self) -> None:
        """Reset what belongs to a page for a new page: scroll position, typed text, menu, loading, secure."""
        self.scroll, self.edited, self.menu = 0, None, ()
        self.loading, self.secure = 0, False


def go(page: str) -> Effect:
    return lambda state: state.push(page)


def open_menu(name: str, *choices: str) -> Effect:
    def effect(state: State) -> None:
        state.menu = (name, *choices)

    return effect
