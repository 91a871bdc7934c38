"""A simulated phone that records inputs and can be made to fail."""

from typing import Any

from mobile_r1_jax.phones.simulator.device import Device

SIZE = (112, 224)


class RecordingDevice(Device):
    """The simulated phone, which also records inputs and can be made to fail."""

    def __init__(self) -> None:
        super().__init__(size=SIZE, seed=0)
        self.happened: list[tuple[Any, ...]] = []  # texts, gestures and keys
        self.failures: list[Exception] = []  # raised one by one by the next calls
        self.pictures: list[bytes] = []  # returned one by one instead of the screen

    @property
    def typed(self) -> list[str]:
        """Return the typed texts, one per call."""
        return [what[1] for what in self.happened if what[0] == "text"]

    @property
    def gestures(self) -> list[tuple[Any, ...]]:
        """Return the gestures and keys."""
        return [what for what in self.happened if what[0] != "text"]

    @property
    def text(self) -> str:
        """Return the text written by typed texts and the keys Enter and Tab."""
        keys = {("key", "ENTER"): "\n", ("key", "TAB"): "\t"}
        return "".join(what[1] if what[0] == "text" else keys.get(what, "") for what in self.happened)

    def _happened(self, *what: Any) -> None:
        self.happened.append(what)
        if self.failures:
            raise self.failures.pop(0)

    def type_text(self, text: str) -> None:
        self.happened.append(("text", text))

    def tap(self, x: int, y: int) -> None:
        self._happened("tap", x, y)

    def long_press(self, x: int, y: int) -> None:
        self._happened("long_press", x, y)

    def swipe(self, x1: int, y1: int, x2: int, y2: int) -> None:
        self._happened("swipe", x1, y1, x2, y2)

    def key(self, name: str) -> None:
        self._happened("key", name)
        super().key(name)

    def screenshot(self) -> bytes:
        if self.failures:
            raise self.failures.pop(0)
        return self.pictures.pop(0) if self.pictures else super().screenshot()
