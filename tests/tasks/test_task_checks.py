"""Checks: done, not done or unknown, from the output of a shell line."""

from dataclasses import dataclass

import pytest

from mobile_r1_jax.tasks.program import Check, Outcome, combine, failure

DONE, NOT_DONE, UNKNOWN = Outcome.DONE, Outcome.NOT_DONE, Outcome.UNKNOWN


@dataclass(frozen=True)
class Answer:
    stdout: str = ""
    stderr: str = ""
    status: int = 0


@pytest.mark.parametrize(
    ("operator", "expected", "output", "holds"),
    [
        ("equals", "1", "1\n", True),
        ("equals", "1", " 1\r\n", True),
        ("equals", "1", "11\n", False),
        ("equals", "null", "null\n", True),
        ("equals", "a\nb\n", "a\r\nb\r\n", True),
        ("equals", "", "\n", True),
        ("contains", "Night mode: yes", "Night mode: yes\n", True),
        ("contains", "yes", "Night mode: no\n", False),
        ("contains", "a.c", "abc", False),
        ("matches", "^b$", "a\nb\nc\n", True),
        ("matches", "^b$", "a\r\nb\r\nc\r\n", True),
        ("matches", "^b$", "abc\n", False),
        ("matches", r"is (\d+) in range \[0\.\.\1\]", "volume is 15 in range [0..15]", True),
        ("matches", "明天", "body=明天见", True),
    ],
)
def test_check_compares_the_output(operator, expected: str, output: str, holds: bool) -> None:
    check = Check("true", operator, expected)
    assert check.outcome(Answer(output)) is (DONE if holds else NOT_DONE)
    negated = Check("true", operator, expected, negated=True)
    assert negated.outcome(Answer(output)) is (NOT_DONE if holds else DONE)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer("1\n", "", 1), "exit status 1: 1"),
        (Answer("", "cat: /sdcard/x: No such file or directory\n", 1), "exit status 1: cat: /sdcard/x: No such file"),
        (Answer("", "/system/bin/sh: foo: inaccessible or not found\n", 127), "exit status 127: /system/bin/sh: foo"),
        (
            Answer("", "\nException occurred while executing 'get':\njava.lang.X\n\tat a.b\n", 255),
            "exit status 255: Exc",
        ),
        (Answer("", "", 3), "exit status 3: no output"),
        (
            Answer("", "Error while accessing provider:sms\njava.lang.SecurityException\n"),
            "Error while accessing provider:",
        ),
        (Answer("", "Can't find service: alarms\n"), "Can't find service: alarms"),
        (Answer("Can't find service: alarms\n"), "Can't find service: alarms"),
        (Answer("", "cmd: Can't find service: uimode\n", 20), "exit status 20: cmd: Can't find service: uimode"),
        (Answer("x", "ERROR: could not get idle state.\n"), "ERROR: could not get idle state."),
        (Answer("Error: java.lang.SecurityException: user 150\n"), "Error: java.lang.SecurityException: user 150"),
        (Answer("", "something is wrong\n"), "something is wrong"),
    ],
)
@pytest.mark.parametrize("negated", [False, True])
def test_failed_command_has_an_unknown_outcome(answer: Answer, reason: str, negated: bool) -> None:
    assert failure(answer).startswith(reason) and "\n" not in failure(answer)
    assert Check("x", "contains", "1", negated).outcome(answer) is UNKNOWN


@pytest.mark.parametrize(
    "answer",
    [
        Answer(),
        Answer("No result found.\n"),
        Answer("Starting: Intent { }\n", "Warning: Activity not started, it was brought to the front\n"),
        Answer("1\n", "WARNING: linker: libx.so has text relocations\n"),
        Answer("a note that says Error: none\n"),
    ],
)
def test_warnings_and_empty_outputs_are_not_failures(answer: Answer) -> None:
    assert failure(answer) == ""


@pytest.mark.parametrize(
    ("outcomes", "task"),
    [
        ([DONE, DONE], DONE),
        ([DONE, NOT_DONE], NOT_DONE),
        ([DONE, UNKNOWN], UNKNOWN),
        ([UNKNOWN, NOT_DONE, DONE], NOT_DONE),
        ([UNKNOWN], UNKNOWN),
        ([], UNKNOWN),
    ],
)
def test_task_is_done_if_all_checks_are_done(outcomes: list[Outcome], task: Outcome) -> None:
    assert combine(outcomes) is task
