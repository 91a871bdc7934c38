"""The state of one simulated phone: plain data, cheap to copy, changed only by the effects of what is touched.

A page is a path such as "shop/item/Shoes"; each app keeps a stack of them, so Back works as on a phone: it also returns
to the app from which a page of another one was opened.
"""

import copy
from dataclasses import dataclass, field
from typing import Any

from mobile_r1_jax.phones.simulator.screen import Effect

LAUNCHER = "launcher/home"


@dataclass(frozen=True)
class Popup:
    """A window over everything: `dismiss` closes it, `accept` closes it and may lead astray."""

    title: str
    accept: str
    dismiss: str
    astray: str = ""  # the page that accepting opens
    accept_first: bool = True


@dataclass
class State:
    """Everything that a phone remembers. `data` holds one dict per app (JSON types only)."""

    app: str = "launcher"
    stacks: dict[str, list[str]] = field(default_factory=lambda: {"launcher": [LAUNCHER]})
    beneath: str = ""  # the app from which this one's page was opened: where Back leads
    data: dict[str, Any] = field(default_factory=dict)
    scroll: int = 0
    text: str = ""
    menu: tuple[str, ...] = ()  # the name that was long-pressed, then the menu's choices
    popup: Popup | None = None
    waiting: list[tuple[int, Popup]] = field(default_factory=list)  # (how many pages from now it opens, which)
    popups_shown: int = 0
    volume: int = 5

    @property
    def page(self) -> str:
        return self.stacks[self.app][-1]

    def copy(self) -> "State":
        return copy.deepcopy(self)

    def push(self, page: str) -> None:
        """Opens a page of any app on top of that app's stack."""
        app = page.split("/")[0]
        self.app, self.beneath = app, (self.app if self.app != app else "")
        stack = self.stacks.setdefault(self.app, [f"{self.app}/home"])
        if stack[-1] != page:
            stack.append(page)
        self.settle()
        self.interrupt()

    def launch(self, app: str) -> None:
        """Opens an app at its home page, as a start from the launcher does after its recents were cleared."""
        self.app, self.beneath = app, ""
        self.stacks[app] = [f"{app}/home"]
        self.settle()
        self.interrupt()

    def interrupt(self) -> None:
        """Brings the waiting pop-ups one page nearer and shows the first that is due."""
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

    def settle(self) -> None:
        """A new page starts at its top, with nothing typed and no menu open."""
        self.scroll, self.text, self.menu = 0, "", ()


def go(page: str) -> Effect:
    return lambda state: state.push(page)


def open_menu(name: str, *choices: str) -> Effect:
    def effect(state: State) -> None:
        state.menu = (name, *choices)

    return effect
