"""Android's settings of a simulated phone. The switches of its Settings app and these settings are one state.

`android.settings["global"]["wifi_on"] = "0"` turns the switch Wifi off, and a tap on the switch changes the setting.
"""

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass

STOCK_KEYBOARD = "com.android.inputmethod.latin/.LatinIME"


@dataclass(frozen=True)
class Switch:
    """A switch of the Settings app. `on`: the values of Android's setting that mean on; `on[0]` is what it writes."""

    name: str
    on: tuple[str, ...] = ("1",)
    off: str = "0"

    def value(self, on: bool) -> str:
        return self.on[0] if on else self.off


SWITCHES: dict[str, dict[str, Switch]] = {
    "system": {
        "accelerometer_rotation": Switch("Rotate"),
        "vibrate_when_ringing": Switch("Vibrate"),
    },
    "secure": {
        "location_mode": Switch("Location", on=("3", "2", "1")),
        "ui_night_mode": Switch("Dark", on=("2",), off="1"),
    },
    "global": {
        "airplane_mode_on": Switch("Airplane"),
        "bluetooth_on": Switch("Bluetooth"),
        "low_power": Switch("Saver"),
        "mode_ringer": Switch("Mute", on=("0", "1"), off="2"),  # silent, vibrating, normal
        "wifi_on": Switch("Wifi", on=("1", "2")),  # 2: on in airplane mode; 3: off because of it
    },
}
"""Namespace -> setting -> the switch that shows it."""

DEFAULTS: dict[str, dict[str, str]] = {
    "system": {
        "font_scale": "1.0",
        "screen_brightness": "102",
        "screen_brightness_mode": "0",
        "screen_off_timeout": "60000",
        "system_locales": "en-US",
        "time_12_24": "24",
        "user_rotation": "0",
    },
    "secure": {
        "default_input_method": STOCK_KEYBOARD,
        "enabled_input_methods": STOCK_KEYBOARD,
        "show_ime_with_hard_keyboard": "0",
    },
    "global": {
        "animator_duration_scale": "1",
        "device_provisioned": "1",
        "stay_on_while_plugged_in": "0",
        "transition_animation_scale": "1",
        "window_animation_scale": "1",
        "zen_mode": "0",
    },
}
"""The settings of a new phone that no switch shows."""


class Namespace(MutableMapping[str, str]):
    """The settings of one namespace by name. `switches` returns the live switches: name -> whether it is on.

    A setting behind a switch keeps the text that was put, such as wifi_on=2, until the switch is turned. Deleting it
    turns the switch off.
    """

    def __init__(self, name: str, switches: Callable[[], MutableMapping[str, bool]]) -> None:
        self._behind, self._switches = SWITCHES[name], switches
        self._values = DEFAULTS[name] | {key: switch.off for key, switch in self._behind.items()}

    def __getitem__(self, key: str) -> str:
        value, switch = self._values[key], self._behind.get(key)
        if switch is None:
            return value
        on = self._switches()[switch.name]
        return value if (value in switch.on) == on else switch.value(on)

    def __setitem__(self, key: str, value: str) -> None:
        self._values[key] = value
        if switch := self._behind.get(key):
            self._switches()[switch.name] = value in switch.on

    def __delitem__(self, key: str) -> None:
        if switch := self._behind.get(key):
            self[key] = switch.off
        else:
            del self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
