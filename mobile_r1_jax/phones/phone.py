"""What every phone can do, however it is reached, and how it says that it could not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from mobile_r1_jax.agent.errors import OneLineError

if TYPE_CHECKING:
    from mobile_r1_jax.agent.actions import Action
    from mobile_r1_jax.agent.screenshots import Screenshot


@dataclass(frozen=True)
class Task:
    """What is asked of the agent, in which app, and what the phone is given to get ready for it (JSON types)."""

    app: str
    instruction: str
    setup: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Return 16 hex digits that equal tasks share on every machine: a hash of app, instruction and setup."""
        record = json.dumps([self.app, self.instruction, dict(self.setup)], sort_keys=True)
        return hashlib.sha256(record.encode()).hexdigest()[:16]


class Phone(Protocol):
    """A phone that an agent can use. Every method may raise PhoneError; one thread at a time."""

    serial: str

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the screen in device pixels, as it is turned now."""
        ...

    def screenshot(self) -> Screenshot:
        """What is on the screen."""
        ...

    def perform(self, action: Action) -> str:
        """Does the action and lets the screen settle. Returns "" or, in words, why the action had no effect."""
        ...

    def reset(self, task: Task) -> None:
        """Puts the phone where the task begins."""
        ...


class PhoneError(Exception):
    """A phone that failed us, in one line: which, at what, and why.

    `delivered` is False when the command surely never reached the phone, so that repeating it cannot do it twice.
    """

    def __init__(self, serial: str, command: str, reason: str, *, delivered: bool = True) -> None:
        shown = command if len(command) <= 80 else command[:77] + "..."
        super().__init__(" ".join(f"phone {serial}: {shown!r}: {reason}".split()))
        self.serial, self.command, self.reason, self.delivered = serial, command, reason, delivered


class PhonesUnavailable(OneLineError):
    """No phone can be used any more, in one line: adb or the simulator does not start or keeps ending, or none is left.

    The run that needs the phones cannot go on.
    """
