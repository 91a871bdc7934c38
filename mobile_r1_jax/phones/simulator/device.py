"""One simulated phone without adb: gestures and keys in, pixels and state out. The daemon connects it to adb."""

import functools
import json
from collections.abc import Mapping
from random import Random
from typing import Any, ClassVar

from mobile_r1_jax.phones.simulator import gestures, tasks
from mobile_r1_jax.phones.simulator.app import App, Rows, activity_of
from mobile_r1_jax.phones.simulator.apps import APPS
from mobile_r1_jax.phones.simulator.interruptions import INTERRUPTIONS
from mobile_r1_jax.phones.simulator.screen import Element, Screen, draw


class Device:
    """A phone with a screen of `size` (width, height) pixels. `seed` determines its random content."""

    def __init__(self, size: tuple[int, int] = (112, 224), seed: int = 0) -> None:
        self.size = size
        self._state = gestures.fresh_state(Random(seed))
        self._seed = seed
        self._task: tasks.Placed | None = None

    apps: ClassVar[dict[str, App]] = {app.package: app for app in APPS.values()}  # by package
    packages: ClassVar[dict[str, str]] = {app.package: app.label for app in APPS.values()}

    @property
    def focus(self) -> tuple[str, str]:
        """(package, activity) in the foreground."""
        package, _, activity = self._state.popup.window.partition("/") if self._state.popup else ("", "", "")
        if activity:
            return package, activity.removeprefix(package)
        return APPS[self._state.app].package, activity_of(self._state.page)

    @property
    def scrollable(self) -> bool:
        """Whether the page is longer than the screen."""
        return self.awake and not self.locked and APPS[self._state.app].scrolls(self._state.page)

    @property
    def window(self) -> str:
        """The name of the window that has the focus, such as "com.sim.shop/com.sim.shop.HomeActivity"."""
        package, activity = self.focus
        return (self._state.popup and self._state.popup.window) or f"{package}/{package}{activity}"

    @property
    def secure(self) -> bool:
        """Whether Android refuses to capture the screen."""
        state = self._state
        return state.secure and state.popup is None and state.awake and not state.locked

    @property
    def switches(self) -> dict[str, bool]:
        """The switches of the Settings app: name -> whether it is on. To write one is to turn it."""
        return self._state.data["settings"]["on"]

    @property
    def volume(self) -> int:
        """The volume, from 0 to 15."""
        return self._state.volume

    @volume.setter
    def volume(self, value: int) -> None:
        self._state.volume = value

    @property
    def awake(self) -> bool:
        """Whether the screen is on. A sleeping phone is black and takes no touches."""
        return self._state.awake

    @property
    def locked(self) -> bool:
        """Whether the lock screen covers everything."""
        return self._state.locked

    @property
    def lock_screen(self) -> bool:
        """Whether the phone locks itself when it goes to sleep."""
        return self._state.lock_screen

    @lock_screen.setter
    def lock_screen(self, value: bool) -> None:
        self._state.lock_screen = value

    def unlock(self) -> None:
        self._state.unlock()

    @property
    def loading(self) -> bool:
        """Whether the page has no content yet. It gets its content by being looked at; see `look`."""
        return self.awake and not self.locked and self._state.loading > 0

    def look(self) -> None:
        """Count a look at the screen."""
        self._state.loading = max(0, self._state.loading - 1)

    def screenshot(self) -> bytes:
        """Return PNG bytes of the screen, and count it as a look."""
        png = self.picture()
        self.look()
        return png

    def picture(self) -> bytes:
        """Return PNG bytes of the screen."""
        screen = gestures.screen_of(self._state)
        looks = tuple((element.name, element.kind, element.cell, element.value) for element in screen.elements)
        return _drawn(looks, screen.accent, self.size)

    def elements(self) -> list[Element]:
        return list(gestures.screen_of(self._state).elements)

    def tap(self, x: int, y: int) -> None:
        gestures.tap(self._state, x, y, self.size)

    def long_press(self, x: int, y: int) -> None:
        gestures.long_press(self._state, x, y, self.size)

    def swipe(self, x1: int, y1: int, x2: int, y2: int) -> None:
        gestures.swipe(self._state, y1, y2, self.size)

    def type_text(self, text: str) -> None:
        gestures.type_text(self._state, text)

    def key(self, name: str) -> None:
        gestures.press(self._state, name)

    def launch(self, package: str) -> bool:
        """Open an app by its package, or as soon as the phone is awake and unlocked. Return False if there is none."""
        app = next((app for app in APPS.values() if app.package == package), None)
        if app is None:
            return False
        self._state.home() if app.name == "launcher" else self._state.launch(app.name)
        return True

    def interrupt(self, kind: str, duration: float, rng: Random, version: int) -> None:
        """Interrupt the task by a kind of `INTERRUPTIONS`, as an Android version does."""
        INTERRUPTIONS[kind](self._state, duration, rng, version)

    def open(self, page: str) -> None:
        """Open a page of any app, as an intent does; see State.open. Back returns to the app that was in front."""
        self._state.open(page)

    def clear(self, package: str) -> None:
        """Restore the initial data of an app, and show the home screen if the app was in front."""
        app = self.apps[package]
        self._state.data[app.name] = gestures.fresh_state(Random(self._seed)).data[app.name]
        self._state.stacks[app.name] = [f"{app.name}/home"]
        if self._state.app == app.name:
            self._state.home()

    @property
    def tables(self) -> dict[str, Rows]:
        """The tables of all apps: content:// path -> columns and rows."""
        data = self._state.data
        return {path: rows for app in APPS.values() for path, rows in app.tables(data[app.name]).items()}

    @property
    def alarms(self) -> list[str]:
        """The times, as HH:MM, of the alarms that are on."""
        return [time for app in APPS.values() for time in app.alarms(self._state.data[app.name])]

    def perform(self, package: str, action: str, extras: Mapping[str, str]) -> bool:
        """Let an app perform the action of an intent. Return whether the app opens."""
        return self.apps[package].performs[action](self._state, extras)

    def reset(self, setup: dict[str, Any]) -> None:
        """Put the phone into the start state of a task. Raises ValueError if `setup` is invalid."""
        self._task = tasks.place(setup)
        self._state = self._task.state

    def state(self) -> dict[str, Any]:
        """Return the state that success checks read, as JSON types."""
        state, field = self._state, gestures.focused_field(self._state)
        return {
            "page": state.page,
            "popup": state.popup.title if state.popup else "",
            "volume": state.volume,
            "text": field.text if field else "",
            "awake": state.awake,
            "locked": state.locked,
            **json.loads(json.dumps(state.data)),
        }

    @property
    def instruction(self) -> str:
        """The English instruction of the task, "" without a task."""
        return self._task.instruction if self._task else ""

    def progress(self) -> dict[str, Any]:
        """Return the progress of the task; see `tasks.Placed.progress`. Raises ValueError if there is no task."""
        if self._task is None:
            raise ValueError("no task: reset the phone with one first")
        return self._task.progress()


@functools.lru_cache(maxsize=256)
def _drawn(looks: tuple[tuple[Any, ...], ...], accent: int, size: tuple[int, int]) -> bytes:
    elements = tuple(Element(name, kind, cell, value=value) for name, kind, cell, value in looks)
    return draw(Screen("", accent, elements), size)
