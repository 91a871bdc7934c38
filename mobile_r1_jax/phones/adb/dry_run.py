"""A dry run of a task file: each setup, check and teardown once on a phone, without a policy."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from mobile_r1_jax.phones.adb.task_program import PATIENCE, CheckAnswer, Shell, ask, await_start, set_up, tear_down
from mobile_r1_jax.phones.phone import PhoneError, PhonesUnavailable
from mobile_r1_jax.tasks.program import Outcome
from mobile_r1_jax.tasks.task import Task


class Tried(Shell, Protocol):
    """A phone with a shell that enters and leaves, see `phone.Phone`."""

    def enter(self) -> None: ...
    def leave(self) -> None: ...


@dataclass(frozen=True)
class DryRun:
    """The answers of a phone to one task. setup, teardown: why it failed, or ""."""

    task: Task
    setup: str
    answers: tuple[CheckAnswer, ...]
    teardown: str

    @property
    def problem(self) -> str:
        """Return in a few words why the task cannot be used on the phone; "" if it can."""
        if self.setup:
            return "setup failed"
        if not self.answers:
            return "no checks: only a judge can grade it"
        if any(answer.outcome is not Outcome.NOT_DONE for answer in self.answers):
            return "a check should say not done before the first action"
        return "teardown failed" if self.teardown else ""


def try_on(phone: Tried, tasks: Iterable[Task]) -> Iterator[str]:
    """Yield the lines of a dry run on a phone, which gets its settings back at the end.

    Raises PhonesUnavailable in one line if the phone cannot be used.
    """
    try:
        phone.enter()
        yield from report(dry_run(phone, tasks))
        phone.leave()
    except PhoneError as error:
        raise PhonesUnavailable(str(error)) from error


def dry_run(phone: Shell, tasks: Iterable[Task], patience: float = PATIENCE) -> Iterator[DryRun]:
    """Yield the phone's answers to each task. A phone that does not answer fails the step, not the dry run."""
    for task in tasks:
        yield _run_once(phone, task, patience)


def report(rows: Iterable[DryRun]) -> Iterator[str]:
    """Yield the lines to print, each task's as soon as it has run, and a line of counts at the end."""
    problems = []
    for row in rows:
        problems.append(bool(row.problem))
        yield f"{row.task.name}: {row.problem or 'ready'}"
        yield f"  {'instruction':<11} {row.task.instruction}"
        yield f"  {'setup':<11} {row.setup or 'ok'}"
        for answer in row.answers:
            yield f"  {answer.outcome:<11} {answer.check.shell!r} printed: {answer.output[:200]}"
        yield f"  {'teardown':<11} {row.teardown or 'ok'}"
    yield f"{len(problems)} tasks: {problems.count(False)} ready, {problems.count(True)} with a problem"


def _run_once(phone: Shell, task: Task, patience: float) -> DryRun:
    program = task.program
    setup = _attempt(lambda: set_up(phone, program) or await_start(phone, program, patience))
    answers: tuple[CheckAnswer, ...] = ()
    try:
        answers = ask(phone, program)
    except PhoneError as error:
        setup = setup or str(error)
    return DryRun(task, setup, answers, _attempt(lambda: tear_down(phone, program)))


def _attempt(step: Callable[[], str]) -> str:
    """Return the reason that a step gives, or that of its PhoneError."""
    try:
        return step()
    except PhoneError as error:
        return str(error)
