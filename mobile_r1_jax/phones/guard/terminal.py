"""Questions of the guard in a terminal: y confirms, everything else refuses."""

from __future__ import annotations

import select
import sys
import threading
from typing import TextIO

from mobile_r1_jax.agent.actions import Action, action_arguments
from mobile_r1_jax.phones.guard.judging import Judgement, printable

_POLL = 0.2  # seconds


class TerminalAsk:
    """Asks in a terminal. `stop` refuses the open question and all later ones; call it when the command is ending."""

    def __init__(self, answers: TextIO | None = None, screen: TextIO | None = None) -> None:
        """answers, screen: default: standard input and output."""
        self._answers, self._screen = answers or sys.stdin, screen or sys.stdout
        self._stopped = threading.Event()

    def __call__(self, action: Action, judgement: Judgement) -> bool:
        """Print the action and the words on the element, and return whether the next line is y or yes.

        The end of the input refuses. What was typed before the question does not count.
        """
        lines = [
            f"The agent wants to: {', '.join(printable(str(value)) for value in action_arguments(action).values())}",
            f"  it touches: {', '.join(judgement.printable_words) or 'nothing that has words'}",
            f"  app: {printable(judgement.package) or 'unknown'}",
            f"  risk: {judgement.reason}",
        ]
        while self._is_ready(0):
            if not self._answers.readline():
                return False
        print("\n".join(lines), "Perform it? [y/N] ", sep="\n", end="", file=self._screen, flush=True)
        while not self._stopped.is_set():
            if self._is_ready(_POLL):
                return self._answers.readline().strip().casefold() in ("y", "yes")
        return False

    def stop(self) -> None:
        """Refuse from now on."""
        self._stopped.set()

    def _is_ready(self, seconds: float) -> bool:
        return bool(select.select([self._answers], [], [], seconds)[0])
