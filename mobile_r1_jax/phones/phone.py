"""What every phone can do, however it is reached, and how it says that it could not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mobile_r1_jax.agent.errors import OneLineError

if TYPE_CHECKING:
    from mobile_r1_jax.agent.actions import Action
    from mobile_r1_jax.agent.screenshots import Screenshot
    from mobile_r1_jax.tasks.task import Progress, Task


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

    def reconnect(self) -> None:
        """Connect again after a failure."""
        ...

    def progress(self) -> Progress | None:
        """Return how far the phone is with its task; None where it cannot tell."""
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
