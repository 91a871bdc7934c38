"""The syntax tree of mksh's language, as far as this shell reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


class ShellSyntaxError(Exception):
    """A command line that the shell cannot parse. `incomplete`: more lines could complete it."""

    def __init__(self, message: str, *, incomplete: bool = False) -> None:
        super().__init__(message)
        self.incomplete = incomplete


@dataclass(frozen=True)
class Text:
    """Characters as they are."""

    value: str
    quoted: bool


@dataclass(frozen=True)
class Parameter:
    """`$NAME` or `${NAME OPERATOR ARGUMENT}`. The operator `length` is `${#NAME}`, `:` takes a substring."""

    name: str
    quoted: bool
    operator: str = ""
    argument: Word | None = None
    replacement: Word | None = None  # of / and //


@dataclass(frozen=True)
class Substitution:
    """`$(LIST)` or the same in backquotes."""

    body: List
    quoted: bool


@dataclass(frozen=True)
class Arithmetic:
    """`$((EXPRESSION))`."""

    expression: Word
    quoted: bool


Part = Text | Parameter | Substitution | Arithmetic


@dataclass(frozen=True)
class Word:
    """The parts of a word. `literal` is its only value, if nothing in it has to be expanded."""

    parts: tuple[Part, ...]
    literal: str | None


def word_of(parts: list[Part]) -> Word:
    """Return the word of `parts`, with its literal value where it has one."""
    special = any(not isinstance(part, Text) or (not part.quoted and set(part.value) & set("*?[~")) for part in parts)
    return Word(tuple(parts), None if special else "".join(part.value for part in parts if isinstance(part, Text)))


@dataclass
class Redirection:
    """A redirection. `body` is the content of a here-document, which follows its line."""

    descriptor: int
    operator: str  # < > >> >| <> <& >& &> << <<- <<<
    target: Word
    body: Word | None = None


@dataclass(frozen=True)
class Assignment:
    name: str
    value: Word
    append: bool


@dataclass(frozen=True)
class Simple:
    """`NAME=VALUE … COMMAND ARGUMENT … >FILE`. `literals` are the words, if nothing has to be expanded."""

    assignments: tuple[Assignment, ...]
    words: tuple[Word, ...]
    redirections: tuple[Redirection, ...]
    literals: tuple[str, ...] | None


@dataclass(frozen=True)
class Group:
    """`{ LIST; }`, or `( LIST )` in a separate shell."""

    body: List
    subshell: bool


@dataclass(frozen=True)
class If:
    branches: tuple[tuple[List, List], ...]  # (condition, body) of `if` and of each `elif`
    otherwise: List


@dataclass(frozen=True)
class Loop:
    condition: List
    body: List
    until: bool


@dataclass(frozen=True)
class For:
    name: str
    words: tuple[Word, ...] | None  # None: the positional parameters
    body: List


@dataclass(frozen=True)
class Case:
    word: Word
    branches: tuple[tuple[tuple[Word, ...], List], ...]


@dataclass(frozen=True)
class Function:
    name: str
    body: Command


@dataclass(frozen=True)
class Test:
    """`[[ … ]]`: words, and operators as strings."""

    tokens: tuple[Word | str, ...]


@dataclass(frozen=True)
class Calculation:
    """`((EXPRESSION))`."""

    expression: Word


@dataclass(frozen=True)
class Redirected:
    """A compound command with redirections."""

    command: Command
    redirections: tuple[Redirection, ...]


Command = Simple | Group | If | Loop | For | Case | Function | Test | Calculation | Redirected


@dataclass(frozen=True)
class Pipeline:
    commands: tuple[Command, ...]
    negated: bool


@dataclass(frozen=True)
class AndOr:
    """Pipelines, each with the operator before it. `background`: the list ends with &.

    `simple` is the only command, if there is only one and it is not negated.
    """

    steps: tuple[tuple[Literal["", "&&", "||"], Pipeline], ...]
    background: bool
    simple: Command | None


List = tuple[AndOr, ...]
