"""Settings: switches and subpages in random order; the last two need a scroll."""

from random import Random
from typing import Any

from mobile_r1_jax.phones.simulator.app import App
from mobile_r1_jax.phones.simulator.screen import Element
from mobile_r1_jax.phones.simulator.state import State, go

SWITCHES = ("Wifi", "Bluetooth", "Airplane", "Location")
PAGES = {"Display": ("Dark", "Rotate"), "Sound": ("Mute", "Vibrate"), "Battery": ("Saver",), "About": ()}
VISIBLE = 6


def fresh(rng: Random) -> dict[str, Any]:
    names = [*SWITCHES, *(name for names in PAGES.values() for name in names)]
    rows = [*SWITCHES, *PAGES]
    return {"on": {name: rng.random() < 0.5 for name in names}, "rows": rng.sample(rows, len(rows))}


def elements(state: State) -> list[Element]:
    data = state.data["settings"]
    page = state.page.split("/")[1]
    if page == "home":
        rows = data["rows"][2:] if state.scroll else data["rows"][:VISIBLE]
        return [Element("Settings", "title", (0, 0, 4, 1)), *(_row(data, name, 1 + k) for k, name in enumerate(rows))]
    info = [Element("Version", "line", (0, 3, 4, 1))] if page == "About" else []
    return [
        Element(page, "title", (0, 0, 4, 1)),
        *(_row(data, name, 1 + k) for k, name in enumerate(PAGES[page])),
        *info,
    ]


def scrolls(page: str) -> bool:
    return page == "settings/home"


def _row(data: dict[str, Any], name: str, row: int) -> Element:
    if name in PAGES:
        return Element(name, "row", (0, row, 4, 1), tap=go(f"settings/{name}"))
    return Element(name, "switch", (0, row, 4, 1), tap=_toggle(name), value="on" if data["on"][name] else "off")


def _toggle(name: str) -> Any:
    def effect(state: State) -> None:
        on = state.data["settings"]["on"]
        on[name] = not on[name]

    return effect


INTENTS = {
    f"android.settings.{action}": f"settings/{page}"
    for page, actions in {
        "home": (
            "SETTINGS", "WIFI_SETTINGS", "WIRELESS_SETTINGS", "AIRPLANE_MODE_SETTINGS", "BLUETOOTH_SETTINGS",
            "LOCATION_SOURCE_SETTINGS",
        ),
        "Display": ("DISPLAY_SETTINGS", "DARK_THEME_SETTINGS", "AUTO_ROTATE_SETTINGS"),
        "Sound": ("SOUND_SETTINGS",),
        "Battery": ("BATTERY_SAVER_SETTINGS",),
        "About": ("DEVICE_INFO_SETTINGS",),
    }.items()
    for action in actions
}  # fmt: skip
APP = App("settings", "Settings", "com.sim.settings", 7, fresh, elements, scrolls=scrolls, system=True, intents=INTENTS)
