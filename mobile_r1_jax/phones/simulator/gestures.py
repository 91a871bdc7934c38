"""Transitions of a phone's state by gestures and keys, and the screen of a state. No device and no adb."""

import dataclasses
from random import Random
from typing import Any

from mobile_r1_jax.phones.simulator.apps import APPS
from mobile_r1_jax.phones.simulator.screen import ROWS, Element, Screen
from mobile_r1_jax.phones.simulator.state import Popup, State

POPUPS = tuple(popup for app in APPS.values() for popup in app.popups)


def shuffled(popup: Popup, rng: Random) -> Popup:
    """Return the pop-up with its buttons in random order."""
    return dataclasses.replace(popup, accept_first=rng.random() < 0.5)


def fresh_state(rng: Random) -> State:
    """Return the state of a new phone: at the home screen, with every app's data drawn from `rng`."""
    return State(data={app.name: app.fresh(rng) for app in APPS.values()})


def screen_of(state: State) -> Screen:
    """Return the screen of a state."""
    app = APPS[state.app]
    elements = app.elements(state)
    if state.loading:
        elements = [element for element in elements if element.cell[1] == 0 and not element.touchable]
        elements.append(Element("Loading", "line", (1, 3, 3, 1)))
    if state.menu and not state.loading:
        name, *choices = state.menu
        elements = [element for element in elements if element.cell[1] == 0]
        elements.append(Element(name, "card", (0, 2, 4, 4)))
        elements += [Element(choice, "row", (0, 3 + k, 4, 1), tap=_chosen(choice)) for k, choice in enumerate(choices)]
    if state.popup:
        popup = state.popup
        elements = [element for element in elements if element.cell[1] == 0]
        names = (popup.accept, popup.dismiss) if popup.accept_first else (popup.dismiss, popup.accept)
        elements.append(Element(popup.title, "card", (0, 2, 4, 4)))
        elements += [Element(name, "button", (2 * k, 4, 2, 1), tap=_answered(name)) for k, name in enumerate(names)]
    return Screen(state.page, app.accent, tuple(elements))


def _chosen(choice: str) -> Any:
    def effect(state: State) -> None:
        name, state.menu = state.menu[0], ()
        if choose := APPS[state.app].choose:
            choose(state, name, choice)

    return effect


def _answered(name: str) -> Any:
    def effect(state: State) -> None:
        popup, state.popup = state.popup, None
        if popup and name == popup.accept and popup.astray:
            state.push(popup.astray)

    return effect


def tap(state: State, x: int, y: int, size: tuple[int, int]) -> None:
    element = screen_of(state).at(x, y, size)
    if element and element.tap:
        element.tap(state)
    elif state.menu and element is None:
        state.menu = ()


def long_press(state: State, x: int, y: int, size: tuple[int, int]) -> None:
    element = screen_of(state).at(x, y, size)
    if element and element.long_press:
        element.long_press(state)


def swipe(state: State, y1: int, y2: int, size: tuple[int, int]) -> None:
    """Scroll by one page if the vertical distance is at least one row."""
    if state.covered or not APPS[state.app].scrolls(state.page) or abs(y1 - y2) < size[1] // ROWS:
        return
    state.scroll = 1 if y1 > y2 else 0


def type_text(state: State, text: str) -> None:
    typed = APPS[state.app].typed
    if typed and not state.covered:
        typed(state, text)


def press(state: State, key: str) -> None:
    """Press a key, by its Android name without KEYCODE_."""
    if key == "BACK":
        state.back()
    elif key == "HOME":
        state.home()
    elif key in ("MENU", "APP_SWITCH"):
        state.popup = None
        state.push("launcher/recents")
    elif key == "ENTER":
        entered = APPS[state.app].entered
        if entered and not state.covered:
            entered(state)
    elif key in ("VOLUME_UP", "VOLUME_DOWN"):
        state.volume = max(0, min(15, state.volume + (1 if key == "VOLUME_UP" else -1)))
