"""Transitions of a phone's state by gestures and keys, and the screen of a state. No device and no adb."""

import dataclasses
from collections.abc import Callable
from random import Random
from typing import Any

from mobile_r1_jax.phones.simulator.apps import APPS
from mobile_r1_jax.phones.simulator.screen import ROWS, Element, Screen
from mobile_r1_jax.phones.simulator.state import Popup, State
from mobile_r1_jax.phones.simulator.text_field import TextField

DARK = (Element("", "dark", (0, 0, 4, 8)),)
LOCK_SCREEN = (Element("Locked", "card", (0, 0, 4, 8)), Element("Swipe up", "line", (0, 6, 4, 1)))
CONTROL_KEYS = {"A": "SELECT_ALL", "C": "COPY", "V": "PASTE", "X": "CUT"}
POPUPS = tuple(popup for app in APPS.values() for popup in app.popups)


def shuffled(popup: Popup, rng: Random) -> Popup:
    """Return the pop-up with its buttons in random order."""
    return dataclasses.replace(popup, accept_first=rng.random() < 0.5)


def fresh_state(rng: Random) -> State:
    """Return the state of a new phone: at the home screen, with every app's data drawn from `rng`."""
    return State(data={app.name: app.fresh(rng) for app in APPS.values()})


def screen_of(state: State) -> Screen:
    """Return the screen of a state."""
    if not state.awake:
        return Screen(state.page, 0, DARK)
    if state.locked:
        return Screen(
            state.page, 0, (Element("Locked", "card", (0, 0, 4, 8)), Element("Swipe up", "line", (0, 6, 4, 1)))
        )
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
    if element and element.focused and state.edited:
        state.edited = TextField.at_end(state.edited.text)
    if element and element.tap:
        element.tap(state)
    elif state.menu and element is None:
        state.menu = ()


def long_press(state: State, x: int, y: int, size: tuple[int, int]) -> None:
    element = screen_of(state).at(x, y, size)
    if element and element.long_press:
        element.long_press(state)


def swipe(state: State, y1: int, y2: int, size: tuple[int, int]) -> None:
    """Scroll by one page, or unlock by a swipe up, if the vertical distance is at least one row."""
    if not state.awake or abs(y1 - y2) < size[1] // ROWS:
        return
    if state.locked:
        if y1 > y2:
            state.unlock()
    elif not (state.popup or state.menu or state.loading) and APPS[state.app].scrolls(state.page):
        state.scroll = 1 if y1 > y2 else 0


def focused_field(state: State) -> TextField | None:
    """Return the text field that typed text goes into; None if the screen has none."""
    element = next((element for element in screen_of(state).elements if element.focused), None)
    return element and (state.edited or TextField.at_end(element.value))


def type_text(state: State, text: str) -> None:
    """Insert text at the cursor. Nothing happens without a focused field."""
    edit(state, lambda field: field.insert(text))


def edit(state: State, change: Callable[[TextField], TextField]) -> None:
    """Change the focused field, if there is one."""
    before = focused_field(state)
    if before is None:
        return
    after = change(before)
    if after != before:
        state.edited = after
    if after.text != before.text and (typed := APPS[state.app].typed):
        typed(state)


def press(state: State, key: str) -> None:
    """Press a key, by its Android name without KEYCODE_, or a combination such as SHIFT_LEFT+A.

    A sleeping phone takes only the keys that wake it. On a locked phone only the volume and Menu have an effect.
    """
    if key in ("POWER", "SLEEP", "WAKEUP") or not state.awake:
        if state.awake and key != "WAKEUP":
            state.sleep()
        elif key in ("POWER", "WAKEUP", "MENU"):
            state.wake()
    elif key in ("VOLUME_UP", "VOLUME_DOWN"):
        state.volume = max(0, min(15, state.volume + (1 if key == "VOLUME_UP" else -1)))
    elif state.locked:
        if key == "MENU":
            state.unlock()
    elif key == "BACK":
        state.back()
    elif key == "HOME":
        state.home()
    elif key in ("MENU", "APP_SWITCH"):
        state.popup = None
        state.push("launcher/recents")
    elif key in ("ENTER", "NUMPAD_ENTER"):
        entered = APPS[state.app].entered
        if entered and focused_field(state):
            entered(state)
    else:
        edit(state, lambda field: _typed(state, field, key))


def _typed(state: State, field: TextField, key: str) -> TextField:
    """Return the field after a key or a combination such as CTRL_LEFT+A, and store the text that it copies."""
    *held, key = key.split("+")
    shift, control = (any(name in (f"{kind}_LEFT", f"{kind}_RIGHT") for name in held) for kind in ("SHIFT", "CTRL"))
    if control:
        key = CONTROL_KEYS.get(key, "")
    if key == "SELECT_ALL":
        return field.select_all()
    if key == "PASTE":
        return field.insert(state.clipboard)
    if key in ("CUT", "COPY") and field.selected:
        state.clipboard = field.selected
        return field.insert("") if key == "CUT" else field
    return field.press(key, shift=shift)
