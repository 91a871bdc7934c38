"""Clock: alarms with switches, a timer, and a page that adds an alarm by name."""

import re
from collections.abc import Mapping
from random import Random
from typing import Any

from mobile_r1_jax.phones.simulator.app import App
from mobile_r1_jax.phones.simulator.screen import Element
from mobile_r1_jax.phones.simulator.state import State, go, open_menu

ALARMS = ("Wake", "Gym", "Lunch", "Nap", "Class", "Train", "Pills", "Walk")
TABS = ("Timer", "World")


def fresh(rng: Random) -> dict[str, Any]:
    alarms = rng.sample(ALARMS, 4)
    return {"alarms": {name: rng.random() < 0.5 for name in alarms}, "running": False, "tabs": rng.sample(TABS, 2)}


def elements(state: State) -> list[Element]:
    data = state.data["clock"]
    page = state.page.split("/")[1]
    if page == "home":
        rows = [
            Element(
                name,
                "switch",
                (0, 1 + k, 4, 1),
                tap=_toggle(name),
                long_press=open_menu(name, "Delete", "Share"),
                value="on" if on else "off",
            )
            for k, (name, on) in enumerate(list(data["alarms"].items())[:5])
        ]
        tabs = [
            Element(tab, "tile", (k, 7, 1, 1), tap=go(f"clock/{tab.lower()}")) for k, tab in enumerate(data["tabs"])
        ]
        return [
            Element("Clock", "title", (0, 0, 4, 1)),
            *rows,
            Element("New", "button", (1, 6, 2, 1), tap=go("clock/new")),
            *tabs,
        ]
    if page == "new":
        keep = [Element("Keep", "button", (1, 6, 2, 1), tap=_keep)] if state.text else []
        return [
            Element("New", "title", (0, 0, 4, 1)),
            Element("Type", "field", (0, 1, 4, 1), tap=lambda state: None, value=state.text, focused=True),
            *keep,
        ]
    if page == "timer":
        return [
            Element("Timer", "title", (0, 0, 4, 1)),
            Element("Stop" if data["running"] else "Start", "button", (1, 4, 2, 1), tap=_run),
        ]
    return [Element("World", "title", (0, 0, 4, 1)), Element("Empty", "line", (0, 3, 4, 1))]


def choose(state: State, name: str, choice: str) -> None:
    """Apply a menu choice to a long-pressed alarm."""
    if choice == "Delete":
        state.data["clock"]["alarms"].pop(name, None)


def _toggle(name: str) -> Any:
    def effect(state: State) -> None:
        alarms = state.data["clock"]["alarms"]
        alarms[name] = not alarms[name]

    return effect


def _run(state: State) -> None:
    state.data["clock"]["running"] = not state.data["clock"]["running"]


def _keep(state: State) -> None:
    state.data["clock"]["alarms"] = {state.text: True, **state.data["clock"]["alarms"]}
    state.back()


def times(data: dict[str, Any]) -> list[str]:
    """Return the times of the alarms that are on. An alarm rings if its name is a time of the day."""
    names = (re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", name, re.ASCII) for name, on in data["alarms"].items() if on)
    return [f"{int(name[1]):02}:{name[2]}" for name in names if name]


def set_alarm(state: State, extras: Mapping[str, str]) -> bool:
    """Add the alarm of an intent SET_ALARM, if it has a time. Return whether the app opens."""
    hour, minutes = (extras.get(f"android.intent.extra.alarm.{name}", "") for name in ("HOUR", "MINUTES"))
    if hour.isdecimal() and int(hour) < 24 and (minutes or "0").isdecimal() and int(minutes or "0") < 60:
        name = f"{int(hour):02}:{int(minutes or '0'):02}"
        state.data["clock"]["alarms"] = {name: True} | state.data["clock"]["alarms"] | {name: True}
    return extras.get("android.intent.extra.alarm.SKIP_UI") != "true"


APP = App(
    "clock",
    "Clock",
    "com.android.deskclock",
    4,
    fresh,
    elements,
    choose=choose,
    performs={"android.intent.action.SET_ALARM": set_alarm},
    alarms=times,
)
