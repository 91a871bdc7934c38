"""Phones and emulators that an adb server of the user knows. The server is never started, stopped or restarted."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from adbutils import AdbError

from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.adb.saved import user_state
from mobile_r1_jax.phones.adb.stream import ServerAddress, states
from mobile_r1_jax.phones.phone import PhonesUnavailable
from mobile_r1_jax.phones.settings import DeviceSettings, Timings

log = logging.getLogger(__name__)

ALL = "all"
_STATES = {
    "offline": "is offline; reconnect its cable, or run `adb reconnect offline`",
    "unauthorized": "is unauthorized; accept the dialog on its screen",
    "no permissions": "has no permissions; set up the udev rules of adb",
    "recovery": "is in recovery mode; start Android",
    "sideload": "is in sideload mode; start Android",
    "bootloader": "is in the bootloader; start Android",
    "": "is not there; `adb devices` lists the phones of this server",
}


def devices(settings: DeviceSettings, timings: Timings) -> Sequence[AdbPhone]:
    """Return the phones that the settings name, in state `device`. Log the others, each in a line.

    Raises PhonesUnavailable in one line if the server does not answer or no phone can be used.
    """
    server = address_of(settings.server)
    try:
        known = states(server, timings.limit)
    except (AdbError, OSError) as error:
        raise PhonesUnavailable(f"phones.devices.server: {error}") from error
    chosen = [serial for serial in settings.serials if serial != ALL] + [*known] * (ALL in settings.serials)
    named = list(dict.fromkeys(chosen))  # each once
    problems = [
        f"{serial} {_STATES.get(state, f'is in state {state!r}')}"
        for serial in named
        if (state := known.get(serial, "")) != "device"
    ]
    usable = [serial for serial in named if known.get(serial) == "device"]
    if not usable:
        there = "; ".join(problems or [f"{serial} ({state})" for serial, state in known.items()]) or "none"
        raise PhonesUnavailable(f"phones.devices: no phone of the adb server {server} can be used: {there}")
    for problem in problems:
        log.error("phone %s; it is left out", problem)
    return [AdbPhone(serial, server, timings, user_state()) for serial in usable]


def address_of(server: str | None) -> ServerAddress:
    """Return the address HOST:PORT; None: by adb's environment variables. Raises PhonesUnavailable."""
    if server is None:
        return ServerAddress.from_environment()
    match = re.fullmatch(r"(?P<host>[^:\[\]\s]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})", server, re.ASCII)
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        raise PhonesUnavailable(f"phones.devices.server is {server!r}; use HOST:PORT, such as 192.168.0.7:5037")
    return ServerAddress(match["host"].strip("[]"), int(match["port"]))
