"""The interface of every phone, and its errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mobile_r1_jax.agent.errors import OneLineError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mobile_r1_jax.agent.actions import Action
    from mobile_r1_jax.agent.outcome import Outcome
    from mobile_r1_jax.agent.progress import Progress
    from mobile_r1_jax.agent.screenshots import Screenshot
    from mobile_r1_jax.tasks.task import Task


Verdict = Literal["refused", "confirmed", "permitted"]


@dataclass(frozen=True)
class Decision:
    """A guard's decision on a risky action.

    action: its arguments. verdict: refused, confirmed by a person, or permitted by the task. risks: values of Risk.
    words: on the touched element, printable. reason: the text for the policy.
    """

    action: Mapping[str, Any]
    verdict: Verdict
    risks: tuple[str, ...]
    words: tuple[str, ...]
    package: str
    reason: str


class Phone(Protocol):
    """A phone that an agent can use. Every method may raise PhoneError; one thread at a time."""

    serial: str
    generation: int  # increases when a new phone without the old state replaces this one
    decisions: Sequence[Decision]  # of a guard since the last reset, oldest first; empty without a guard

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the screen in device pixels, in its current orientation."""
        ...

    def enter(self) -> None:
        """Check the phone and prepare it for many episodes. Called once, when the phone enters a fleet."""
        ...

    def screenshot(self) -> Screenshot:
        """Return the current screen. Raise SecurePage if the page in front forbids pictures."""
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

    def revive(self) -> None:
        """Make the phone usable again after a failure that ended an episode, from any page."""
        ...

    def release(self) -> None:
        """Restore what an episode changed for itself, such as the keyboard. Called at the end of each lease."""
        ...

    def leave(self) -> None:
        """Restore all that was changed. Called when the phone leaves the fleet."""
        ...

    def transcript(self) -> Sequence[str]:
        """Return the last exchanges with the phone as lines of text, oldest first; raise nothing."""
        ...

    def outcome(self, task: Task) -> Outcome:
        """Return whether the task is done, by the phone's state or the task's checks."""
        ...

    def clean_up(self, task: Task) -> None:
        """Run the task's teardown, after the outcome was decided."""
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


class TaskNotReady(PhoneError):
    """A phone works, but several attempts did not put it into the start state of a task."""


class SecurePage(Exception):
    """The page in front forbids pictures (FLAG_SECURE). The phone works; the episode cannot continue.

    `page` names the page, such as "com.acme.bank/com.acme.bank.Login".
    """

    def __init__(self, serial: str, page: str) -> None:
        super().__init__(f"phone {serial}: {page} forbids screenshots")
        self.page = page


class PhonesUnavailable(OneLineError):
    """No phone can be used any more, in one line. The run cannot continue.

    Either adb or the simulator does not start or ends repeatedly, or every phone has failed.
    """
