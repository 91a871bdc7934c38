"""The shell lines of a task: preparation of the phone, checks of the outcome, and teardown.

These are plain data. `phones/adb/task_program.py` runs them on a phone.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from mobile_r1_jax.agent.outcome import Outcome

# Failures that Android reports with exit status 0.
_ON_STDERR = re.compile(r"^(Error while accessing provider.*|Error: .*|ERROR: .*|.*\bCan't find service: .*)", re.M)
_ON_STDOUT = re.compile(r"(Can't find service: |Error: java\.lang\.).*")

Operator = Literal["equals", "contains", "matches"]


class ShellAnswer(Protocol):
    """The output and exit status of a shell line."""

    @property
    def stdout(self) -> str: ...
    @property
    def stderr(self) -> str: ...
    @property
    def status(self) -> int: ...


@dataclass(frozen=True)
class Check:
    """A shell line, and what its standard output must be.

    equals: the whole output, apart from white space around it. contains: a part of it. matches: a regular expression
    that is found in it; ^ and $ match at line breaks. negated: the opposite.
    """

    shell: str
    operator: Operator
    expected: str
    negated: bool = False

    def outcome(self, answer: ShellAnswer) -> Outcome:
        """Return the outcome by the answer to `shell`."""
        if failure(answer):
            return Outcome.UNKNOWN
        output = answer.stdout.replace("\r\n", "\n")
        if self.operator == "equals":
            holds = output.strip() == self.expected.strip()
        elif self.operator == "contains":
            holds = self.expected in output
        else:
            holds = re.search(self.expected, output, re.M) is not None
        return Outcome.DONE if holds != self.negated else Outcome.NOT_DONE


@dataclass(frozen=True)
class Program:
    """The shell lines of a task, run as written.

    setup, teardown: in order. opens: the line that opens the start screen; "" starts at Home. checks: all must say
    done.
    """

    setup: tuple[str, ...] = ()
    opens: str = ""
    checks: tuple[Check, ...] = ()
    teardown: tuple[str, ...] = ()


def failure(answer: ShellAnswer) -> str:
    """Return why a command failed, in one line; "" if it did not fail."""
    said = _ON_STDERR.search(answer.stderr) or _ON_STDOUT.match(answer.stdout)
    if answer.status == 0:
        if said is None and answer.stderr.strip() and not answer.stdout.strip():
            return _first_line(answer.stderr)
        return said[0].strip() if said else ""
    text = said[0].strip() if said else _first_line(answer.stderr) or _first_line(answer.stdout) or "no output"
    return f"exit status {answer.status}: {text}"


def combine(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the outcome of a task: done if all checks say so, not done if one says so, else unknown."""
    found = set(outcomes)
    if found == {Outcome.DONE}:
        return Outcome.DONE
    return Outcome.NOT_DONE if Outcome.NOT_DONE in found else Outcome.UNKNOWN


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:200]
