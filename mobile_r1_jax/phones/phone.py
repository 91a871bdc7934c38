"""The interface of every phone, and its errors."""

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
    generation: int  # increases when a new phone without the old state replaces this one

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the screen in device pixels, in its current orientation."""
        ...

    def screenshot(self) -> Screenshot:
        """Return the current screen."""
        ...

    def perform(self, action: Action) -> str:
        """Perform the action and wait until the screen settles. Return "" or the reason why it had no effect."""
        ...

    def reset(self, task: Task) -> None:
        """Put the phone into the start state of the task."""
        ...

    def reconnect(self) -> None:
        """Connect again after a failure."""
        ...

    def progress(self) -> Progress | None:
        """Return the progress of the phone's task; None if the phone does not know it."""
        ...


class PhoneError(Exception):
    """A failure of a phone, in one line: the serial, the command and the reason.

    `delivered` is False if the command certainly did not reach the phone. It is then safe to repeat the command.
    """

    def __init__(self, serial: str, command: str, reason: str, *, delivered: bool = True) -> None:
        short = command if len(command) <= 80 else command[:77] + "..."
        super().__init__(" ".join(f"phone {serial}: {short!r}: {reason}".split()))
        self.serial, self.command, self.reason, self.delivered = serial, command, reason, delivered


class PhonesUnavailable(OneLineError):
    """No phone can be used any more, in one line. The run cannot continue.

    Either adb or the simulator does not start or ends repeatedly, or every phone has failed.
    """
