"""The hardware of a simulated phone: displays, battery and keys. Set a field before use to get another phone."""

from dataclasses import dataclass, field

INNER_DISPLAY = "4619827259835644672"
_BATTERY = {"ac": 0, "usb": 1, "wireless": 0, "status": 5, "present": 1, "level": 100, "temp": 250}


@dataclass
class Battery:
    """The battery. `dumpsys battery set` changes its values, and `reset` brings the true ones back."""

    values: dict[str, int] = field(default_factory=lambda: dict(_BATTERY))

    def unplug(self) -> None:
        self.values |= {"ac": 0, "usb": 0, "wireless": 0}

    def reset(self) -> None:
        self.values = dict(_BATTERY)


@dataclass
class Hardware:
    """Displays by their physical id, a 64-bit number as text -> whether it is on while the phone is awake.

    The first one is the display that screencap takes by default. `size` is the size in pixels that the screen was made
    with, `density` the one that `wm density` set, in dots per inch, or 0. A phone without `physical_keys` ends monkey.
    """

    size: tuple[int, int]
    displays: dict[str, bool] = field(default_factory=lambda: {INNER_DISPLAY: True})
    density: int = 0
    physical_keys: bool = True
    battery: Battery = field(default_factory=Battery)

    @property
    def physical_density(self) -> int:
        return max(120, self.size[0] * 160 // 360)  # 360 dp wide, like most phones
