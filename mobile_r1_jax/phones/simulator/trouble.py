"""Simulated trouble of a phone, by rate and by script.

A phone counts the requests for screenshots and the other commands. At each of them trouble may begin: with the
probability of its rate, or because a script says so. The same settings and the same requests give the same trouble.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from random import Random
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """A kind of trouble. `at`: the request it begins at, "screenshot" or "command" (any request, screenshots too)."""

    at: str
    duration: float = 0.0  # if none is given; in `unit`
    unit: str = ""  # "screenshots" or "seconds"; empty for a kind without duration


KINDS = {
    "popup": Kind("screenshot"),
    "permission": Kind("screenshot"),  # a dialog that asks for a permission
    "not_responding": Kind("screenshot"),  # a dialog with "Close app" and "Wait"
    "slow": Kind("screenshot", 2, "screenshots"),  # the page has no content yet
    "asleep": Kind("screenshot"),  # the screen is off and locked
    "secure": Kind("screenshot"),  # the page cannot be captured, until another one opens
    "truncated": Kind("screenshot", 1, "screenshots"),  # the PNG ends in its middle
    "black": Kind("screenshot", 1, "screenshots"),
    "white": Kind("screenshot", 1, "screenshots"),
    "keyboard_lost": Kind("command"),  # the stock keyboard is selected
    "offline": Kind("command", 0.3, "seconds"),  # the phone accepts connections and says nothing
    "unauthorized": Kind("command", 0.3, "seconds"),  # the phone accepts no key
    "frozen": Kind("command", 0.3, "seconds"),  # adb lists the phone as "device", and nothing answers
    "vanished": Kind("command", 0.3, "seconds"),  # the phone refuses connections
    "latency": Kind("command", 0.1, "seconds"),  # one answer comes late
    "disconnect": Kind("command"),  # the connection ends in the middle of the answer
    "server_killed": Kind("command"),  # the adb server at `adb_server` gets the command to end
}


@dataclass(frozen=True)
class Event:
    """One trouble. In a script it begins at the request after `after` requests; `of` says which requests count.

    duration: in the unit of the kind; None for the kind's own.
    """

    kind: str
    after: int = 0
    of: str = "screenshots"  # "screenshots" or "commands"
    duration: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"there is no kind {self.kind!r}; choose from {', '.join(KINDS)}")
        if self.of not in ("screenshots", "commands"):
            raise ValueError(f"of: must be screenshots or commands, is {self.of!r}")
        if self.of == "commands" and KINDS[self.kind].at == "screenshot":
            raise ValueError(f"of: {self.kind} begins at a screenshot; count screenshots")
        if type(self.after) is not int or self.after < 0:
            raise ValueError(f"after: must be a whole number from 0, is {self.after!r}")
        if self.duration is not None and not _is_within(self.duration, math.inf):
            raise ValueError(f"duration: must be a number from 0, is {self.duration!r}")

    @property
    def lasts(self) -> float:
        """The duration, in the unit of the kind."""
        return KINDS[self.kind].duration if self.duration is None else self.duration


@dataclass(frozen=True)
class Trouble:
    """The trouble of one phone. Raises ValueError, in one line, if a field is wrong.

    rates: kind -> probability that it begins at a screenshot or command, from 0 to 1. durations: kind -> duration in
    the kind's unit, for the trouble that begins by rate. script: events in any order. adb_server: HOST:PORT of the
    server that `server_killed` ends.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    durations: Mapping[str, float] = field(default_factory=dict)
    script: tuple[Event, ...] = ()
    seed: int = 0
    adb_server: str = ""

    def __post_init__(self) -> None:
        for name, values, limit in (("rates", self.rates, 1.0), ("durations", self.durations, math.inf)):
            for kind, value in values.items():
                if kind not in KINDS:
                    raise ValueError(f"{name}: there is no kind {kind!r}; choose from {', '.join(KINDS)}")
                if not _is_within(value, limit):
                    raise ValueError(f"{name}.{kind}: must be a number from 0 to {limit:g}, is {value!r}")
        if type(self.seed) is not int:
            raise ValueError(f"seed: must be a whole number, is {self.seed!r}")
        host, _, port = str(self.adb_server).rpartition(":")
        if self.adb_server and not (host and port.isdecimal() and int(port) < 1 << 16):
            raise ValueError(f"adb_server: must be HOST:PORT, is {self.adb_server!r}")
        used = {event.kind for event in self.script} | {kind for kind, rate in self.rates.items() if rate}
        if "server_killed" in used and not self.adb_server:
            raise ValueError("adb_server: server_killed needs the address of the server, HOST:PORT")


def read_trouble(text: str) -> Trouble:
    """Return the trouble of a JSON object, or of a file with one. Raises ValueError in one line.

    Example: {"rates": {"popup": 0.1}, "script": [{"kind": "frozen", "after": 3, "duration": 2}], "seed": 1}
    """
    try:
        record = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"trouble: {text}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"trouble: not JSON: {error}") from error
    try:
        _check_keys(record, Trouble)
        events = record.get("script", [])
        if not isinstance(events, list):
            raise ValueError("script: must be a list of objects")
        for name in ("rates", "durations"):
            if not isinstance(record.get(name, {}), dict):
                raise ValueError(f"{name}: must be an object")
        return Trouble(**record | {"script": tuple(_event(event, index) for index, event in enumerate(events))})
    except ValueError as error:
        raise ValueError(f"trouble: {error}") from None


def _event(record: Any, index: int) -> Event:
    try:
        _check_keys(record, Event)
        if "kind" not in record:
            raise ValueError("kind is missing")
        return Event(**record)
    except ValueError as error:
        raise ValueError(f"script[{index}]: {error}") from None


def _check_keys(record: Any, kind: type) -> None:
    known = [item.name for item in fields(kind)]
    if not isinstance(record, dict):
        raise ValueError(f"must be an object, is {record!r}")
    if unknown := sorted(set(record) - set(known)):
        raise ValueError(f"there is no field {unknown[0]!r}; choose from {', '.join(known)}")


def _is_within(value: Any, limit: float) -> bool:
    return type(value) in (int, float) and 0 <= value <= limit


class Schedule:
    """Decides what begins at each request of one phone. `begun` counts it by kind."""

    def __init__(self, trouble: Trouble) -> None:
        self.trouble = trouble
        self.rng = Random(trouble.seed)
        self._asked = {"screenshots": 0, "commands": 0}
        self._script = list(trouble.script)
        self.begun: Counter[str] = Counter()

    def next(self, *, screenshot: bool) -> Iterator[Event]:
        """Count one request and yield what begins at it."""
        due = [
            event
            for event in self._script
            if self._asked[event.of] >= event.after and (screenshot or event.of == "commands")
        ]
        self._script = [event for event in self._script if event not in due]
        self._asked["commands"] += 1
        self._asked["screenshots"] += screenshot
        for kind, rate in self.trouble.rates.items():
            if (screenshot or KINDS[kind].at == "command") and self.rng.random() < rate:
                due.append(Event(kind, duration=self.trouble.durations.get(kind)))
        self.begun.update(event.kind for event in due)
        yield from due
