"""The home screen with the apps' icons in random order, and the page of recent apps."""

from random import Random
from typing import Any

from mobile_r1_jax.phones.simulator.app import App
from mobile_r1_jax.phones.simulator.screen import Element
from mobile_r1_jax.phones.simulator.state import Popup, State

TILES = ("Settings", "Shop", "Messages", "Clock", "Camera", "Music", "Maps", "Photos")


def fresh(rng: Random) -> dict[str, Any]:
    return {"tiles": rng.sample(TILES, len(TILES)), "recents": rng.sample(TILES, 3)}


def elements(state: State) -> list[Element]:
    data = state.data["launcher"]
    if state.page == "launcher/update":
        return [Element("Update", "title", (0, 0, 4, 1)), Element("Empty", "line", (0, 3, 4, 1))]
    if state.page == "launcher/recents":
        rows = [Element(label, "row", (0, 1 + k, 4, 1), tap=_launch(label)) for k, label in enumerate(data["recents"])]
        clear = [Element("Clear", "button", (1, 6, 2, 1), tap=_clear)] if rows else []
        return [Element("Recents", "title", (0, 0, 4, 1)), *rows, *clear]
    tiles = [
        Element(label, "tile", (k % 4, 2 + 2 * (k // 4), 1, 1), tap=_launch(label))
        for k, label in enumerate(data["tiles"])
    ]
    return [Element("Home", "line", (0, 0, 4, 1)), *tiles]


def _launch(label: str) -> Any:
    return lambda state: state.launch(label.lower())


def _clear(state: State) -> None:
    state.data["launcher"]["recents"] = []
    state.home()


POPUPS = (
    Popup("Allow access?", accept="Allow", dismiss="Deny"),
    Popup("New version", accept="Update", dismiss="Skip", astray="launcher/update"),
)
APP = App("launcher", "Launcher", "com.sim.launcher", 5, fresh, elements, popups=POPUPS, system=True)
