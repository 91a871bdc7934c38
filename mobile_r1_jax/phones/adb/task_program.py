"""Run the shell lines of a task on a phone: before the episode, to decide its outcome, and after it.

Everything goes through `shell`, so any phone behind adb will do.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from mobile_r1_jax.phones.adb.windows import home_package
from mobile_r1_jax.phones.phone import TaskNotReady
from mobile_r1_jax.tasks.program import Check, Outcome, Program, ShellAnswer, combine, failure
from mobile_r1_jax.tasks.task import Task

log = logging.getLogger(__name__)

RESETS = 3  # attempts to prepare a phone for a task [ours]
PATIENCE = 5.0  # seconds until settings have taken effect and the start screen is there [ours]
_PAUSE = 0.2  # seconds between two looks at them
_WINDOW = re.compile(r"mCurrentFocus=Window\{\S+ \S+ ([^}\n]+)\}")


class Shell(Protocol):
    """A phone that runs shell lines, such as `AdbPhone`. Raises PhoneError if the phone does not answer."""

    @property
    def serial(self) -> str: ...
    def shell(self, line: str) -> ShellAnswer: ...


@dataclass(frozen=True)
class CheckAnswer:
    """The outcome of a check, and its output in one line, or why its command failed."""

    check: Check
    outcome: Outcome
    output: str


def prepare(
    phone: Shell, task: Task, *, stop_apps: Callable[[], None] = lambda: None, patience: float = PATIENCE
) -> None:
    """Run the task's setup until the start screen is there and no check says done, RESETS times at most.

    stop_apps: called before each attempt. Raises TaskNotReady with the reason of the last attempt.
    """
    for attempt in range(1, RESETS + 1):
        stop_apps()
        reason = set_up(phone, task.program) or await_start(phone, task.program, patience)
        if not reason:
            return
        log.warning("phone %s: task %s: reset %d of %d: %s", phone.serial, task.name, attempt, RESETS, reason)
    raise TaskNotReady(phone.serial, f"reset to task {task.name}", f"{reason} ({RESETS} attempts)")


def outcome(phone: Shell, task: Task) -> Outcome:
    """Return whether the task is done. Call it before any app is stopped: that would cancel alarms."""
    answers = ask(phone, task.program)
    for answer in answers:
        if answer.outcome is Outcome.UNKNOWN:
            log.warning("phone %s: task %s: %s: %s", phone.serial, task.name, answer.check.shell, answer.output)
    return combine(answer.outcome for answer in answers)


def clean_up(phone: Shell, task: Task) -> None:
    """Run the task's teardown. A failed line is logged; the reset to the next task handles its remains."""
    if reason := tear_down(phone, task.program):
        log.warning("phone %s: task %s: %s", phone.serial, task.name, reason)


def set_up(phone: Shell, program: Program) -> str:
    """Run the setup once, press Home, open the start screen. Return the first failure in one line, or ""."""
    opens = (program.opens,) if program.opens else ()
    return next(_failures(phone, "setup", (*program.setup, "input keyevent 3", *opens)), "")


def tear_down(phone: Shell, program: Program) -> str:
    """Run every line of the teardown. Return the failures in one line, or ""."""
    return "; ".join(_failures(phone, "teardown", program.teardown))


def ask(phone: Shell, program: Program) -> tuple[CheckAnswer, ...]:
    """Run every check once."""
    answers = []
    for check in program.checks:
        answer = phone.shell(check.shell)
        output = failure(answer) or " ".join(answer.stdout.split()) or "no output"
        answers.append(CheckAnswer(check, check.outcome(answer), output))
    return tuple(answers)


def await_start(phone: Shell, program: Program, patience: float) -> str:
    """Wait until the start screen is there and no check says done. Return why that is not so, or ""."""
    deadline = time.monotonic() + patience
    while True:
        reason = _wrong_screen(phone, program) or _already_done(phone, program)
        if not reason or time.monotonic() >= deadline:
            return reason
        time.sleep(_PAUSE)


def _failures(phone: Shell, what: str, lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if reason := failure(phone.shell(line)):
            yield f"{what}: {line!r}: {reason}"


def _already_done(phone: Shell, program: Program) -> str:
    for answer in ask(phone, program):
        if answer.outcome is Outcome.DONE:
            return f"a check says done before the first action: {answer.check.shell!r}: {answer.output[:200]}"
    return ""


def _wrong_screen(phone: Shell, program: Program) -> str:
    """Return which window is in front where Home, or the opened page, should be; "" if that is right."""
    match = _WINDOW.search(phone.shell("dumpsys window | grep mCurrentFocus").stdout)  # of the first display with one
    window = match[1] if match else ""
    front = window.split("/")[0] if "/" in window else ""  # other windows, such as the shade, are not activities
    home = home_package(phone)
    # With several launchers and no default one, the chooser of Android is named. Then every activity may be Home.
    is_home = bool(front) and (front == home or home in ("", "android"))
    if program.opens:
        return "" if front and front != home else f"the page did not open: {window or 'nothing'} is in front"
    return "" if is_home else f"the phone is not at Home: {window or 'nothing'} is in front"
