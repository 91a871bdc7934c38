"""Two phones and an adb server for tests of other clients, and the points to touch in a chat."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from mobile_r1_jax.phones.adb.stream import ServerAddress, states
from mobile_r1_jax.phones.providers.simulated import SimulatedPhone

SIZE = (1080, 2400)
CHAT_FIELD, CHAT_SEND = (540, 1950), (810, 1650)


@dataclass(frozen=True)
class Served:
    """The phones. serials: as announced emulators; ports: of their daemons; phones: give access to their state."""

    server: ServerAddress
    ports: tuple[int, ...]
    serials: tuple[str, ...]
    phones: tuple[SimulatedPhone, ...]

    def is_back(self, serial: str, seconds: float = 10.0) -> bool:
        """Wait until adb lists the phone as "device"."""
        return wait(lambda: states(self.server, 1).get(serial) == "device", seconds)


def wait(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait until the condition holds, and return whether it does."""
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()
