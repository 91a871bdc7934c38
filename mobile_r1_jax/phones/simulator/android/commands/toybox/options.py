"""Options of toybox commands, and toybox's messages for wrong ones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mobile_r1_jax.phones.simulator.android.files import FileError
from mobile_r1_jax.phones.simulator.android.shell import Process
from mobile_r1_jax.phones.simulator.android.system import Android, Tool


class UsageFault(Exception):
    """A call that toybox refuses, with its message after the command's name."""


def usage(process: Process, message: str) -> UsageFault:
    return UsageFault(f'{message} (see "{process.name} --help")')


@dataclass
class Options:
    """The options and the operands of a call. `values` holds every argument of an option, in order."""

    flags: set[str] = field(default_factory=set)
    values: dict[str, list[str]] = field(default_factory=dict)
    operands: list[str] = field(default_factory=list)

    def __contains__(self, letter: str) -> bool:
        return letter in self.flags

    def value(self, letter: str) -> str | None:
        """Return the last argument of an option; None if it was not given."""
        return self.values[letter][-1] if letter in self.values else None

    def number(self, letter: str, process: Process) -> int | None:
        value = self.value(letter)
        if value is None:
            return None
        if not value.lstrip("+-").isdigit():
            raise UsageFault(f"not integer: {value}")
        return int(value)


def parse(process: Process, known: str, *, least: int = 0, most: int | None = None, stop: bool = False) -> Options:
    """Return the options of a call. `known` are letters; a colon after one says that it takes an argument.

    `least` and `most` bound the number of operands. `stop`: options end at the first operand. Raises UsageFault.
    """
    result = Options()
    words = iter(process.arguments)
    for word in words:
        if word == "--":
            result.operands += words
        elif not word.startswith("-") or word == "-":
            result.operands.append(word)
            if stop:
                result.operands += words
        elif word.startswith("--"):
            raise usage(process, f"Unknown option '{word[2:]}'")
        else:
            _letters(process, known, word[1:], words, result)
    if len(result.operands) < least:
        raise usage(process, f"Needs {least} argument{'s' if least > 1 else ''}")
    if most is not None and len(result.operands) > most:
        raise usage(process, f"Max {most} argument{'' if most == 1 else 's'}")
    return result


def _letters(process: Process, known: str, word: str, words: Iterator[str], result: Options) -> None:
    while word:
        letter, word = word[0], word[1:]
        at = known.find(letter)
        if at < 0 or letter == ":":
            raise usage(process, f"Unknown option '{letter}'")
        result.flags.add(letter)
        if known[at + 1 : at + 2] == ":":
            value = word or next(words, None)
            if value is None:
                raise usage(process, f"Missing argument to -{letter}")
            result.values.setdefault(letter, []).append(value)
            return


def tool(failure: int = 1) -> Callable[[Tool], Tool]:
    """Return a decorator: what the tool does not catch is a message and the exit status `failure`."""

    def decorate(function: Tool) -> Tool:
        @functools.wraps(function)
        async def run(android: Android, process: Process) -> int:
            try:
                return await function(android, process)
            except (UsageFault, FileError) as fault:
                return process.fail(str(fault), failure)

        return run

    return decorate


@dataclass(frozen=True)
class Source:
    """The content of one operand: a path, or - for the standard input."""

    name: str
    data: bytes

    @property
    def text(self) -> str:
        return self.data.decode(errors="surrogateescape")

    @property
    def lines(self) -> list[str]:
        """The lines without their newlines."""
        pieces = self.text.split("\n")
        return pieces[:-1] if not pieces[-1] else pieces


async def sources(process: Process, paths: list[str]) -> tuple[list[Source], bool]:
    """Return the contents of `paths`, or the standard input if there are none, and whether all could be read.

    A file that cannot be read gets a message.
    """
    read, complete = [], True
    for path in paths or ["-"]:
        if path == "-":
            await process.shell.session.flush()
            read.append(Source("-", await process.stdin.rest()))
            continue
        try:
            read.append(Source(path, process.files.read(path)))
        except FileError as error:
            process.complain(str(error))
            complete = False
    return read, complete
