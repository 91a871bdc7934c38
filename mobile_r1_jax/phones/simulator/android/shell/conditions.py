"""test, [ and [[."""

from __future__ import annotations

import stat
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from mobile_r1_jax.phones.simulator.android.files import Files
from mobile_r1_jax.phones.simulator.android.shell import expansion, patterns
from mobile_r1_jax.phones.simulator.android.shell.arithmetic import ArithmeticFault, evaluate
from mobile_r1_jax.phones.simulator.android.shell.streams import Process
from mobile_r1_jax.phones.simulator.android.shell.syntax import Word

if TYPE_CHECKING:
    from mobile_r1_jax.phones.simulator.android.shell.interpreter import Shell

_UNARY = frozenset("abcdefghknoprstuwxzGHLNOS")
_NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "-eq": lambda a, b: a == b,
    "-ne": lambda a, b: a != b,
    "-lt": lambda a, b: a < b,
    "-le": lambda a, b: a <= b,
    "-gt": lambda a, b: a > b,
    "-ge": lambda a, b: a >= b,
}
_BINARY = {"=", "==", "!=", "<", ">", "-nt", "-ot", "-ef", *_NUMBERS}


class ConditionFault(Exception):
    """A condition that cannot be read, in mksh's words."""


async def test(process: Process) -> int:
    """`test EXPRESSION` or `[ EXPRESSION ]`: 0 true, 1 false, 2 an error."""
    words = list(process.arguments)
    if process.name == "[" and (not words or words.pop() != "]"):
        process.shell.complain("[: missing ]")
        return 2
    try:
        return int(not await _Condition(process.shell, words, compound=False).value())
    except ConditionFault as fault:
        process.shell.complain(f"{process.name}: {fault}")
        return 2


async def compound(shell: Shell, tokens: Sequence[Word | str]) -> bool:
    """Return whether the condition of `[[ … ]]` holds. Raises ConditionFault."""
    words: list[str] = []
    right_sides: dict[int, Word] = {}
    for position, token in enumerate(tokens):
        if isinstance(token, Word):
            right_sides[position] = token
        words.append(token if isinstance(token, str) else await expansion.text(shell, token))

    async def pattern_at(position: int) -> str:
        return await expansion.pattern(shell, right_sides[position])

    return await _Condition(shell, words, compound=True, pattern_at=pattern_at).value()


class _Condition:
    """A recursive descent evaluation of a condition's words."""

    def __init__(
        self,
        shell: Shell,
        words: list[str],
        *,
        compound: bool,
        pattern_at: Callable[[int], Awaitable[str]] | None = None,
    ) -> None:
        self._shell, self._words, self._at = shell, words, 0
        self._or, self._and = ("||", "&&") if compound else ("-o", "-a")
        self._pattern_at = pattern_at

    async def value(self) -> bool:
        if not self._words:
            return False
        if len(self._words) == 1:
            return bool(self._words[0])
        result = await self._disjunction()
        if self._at < len(self._words):
            raise ConditionFault(f"{self._words[self._at]}: unexpected operator/operand")
        return result

    def _peek(self, ahead: int = 0) -> str | None:
        return self._words[self._at + ahead] if self._at + ahead < len(self._words) else None

    def _take(self) -> str:
        if self._at >= len(self._words):
            raise ConditionFault("expression expected")
        self._at += 1
        return self._words[self._at - 1]

    async def _disjunction(self) -> bool:
        result = await self._conjunction()
        while self._peek() == self._or:
            self._at += 1
            result = await self._conjunction() or result
        return result

    async def _conjunction(self) -> bool:
        result = await self._negation()
        while self._peek() == self._and:
            self._at += 1
            result = await self._negation() and result
        return result

    async def _negation(self) -> bool:
        if self._peek() == "!" and self._peek(1) is not None and self._peek(1) not in _BINARY:
            self._at += 1
            return not await self._negation()
        if self._peek() == "(" and self._peek(1) not in _BINARY:
            self._at += 1
            result = await self._disjunction()
            if self._take() != ")":
                raise ConditionFault("missing )")
            return result
        return await self._primary()

    async def _primary(self) -> bool:
        left = self._take()
        operator = self._peek()
        if operator in _BINARY and self._peek(1) is not None:
            self._at += 2
            return await self._compare(left, operator or "", self._words[self._at - 1], self._at - 1)
        if len(left) == 2 and left[0] == "-" and left[1] in _UNARY and operator not in (None, self._or, self._and, ")"):
            return self._unary(left[1], self._take())
        return bool(left)

    async def _compare(self, left: str, operator: str, right: str, position: int) -> bool:
        if operator in _NUMBERS:
            return _NUMBERS[operator](self._number(left), self._number(right))
        if operator in ("=", "==", "!="):
            if self._pattern_at is None:
                equal = left == right
            else:
                equal = patterns.matches(await self._pattern_at(position), left)
            return equal != (operator == "!=")
        if operator in ("<", ">"):
            return left < right if operator == "<" else left > right
        files = self._shell.files
        first, second = files.status(left), files.status(right)
        if operator == "-ef":
            return bool(first.mode) and files.absolute(left) == files.absolute(right)
        newer = first.modified > second.modified
        return newer if operator == "-nt" else not newer and first.modified != second.modified

    def _number(self, text: str) -> int:
        try:
            return evaluate(text, self._shell.variables)
        except ArithmeticFault as fault:
            raise ConditionFault(str(fault)) from fault

    def _unary(self, letter: str, operand: str) -> bool:
        if letter in "zn":
            return bool(operand) == (letter == "n")
        if letter == "o":
            return operand in self._shell.options
        if letter == "t":
            return False
        return _file_test(self._shell.files, letter, operand)


def _file_test(files: Files, letter: str, path: str) -> bool:
    """Return the result of `test -LETTER PATH`."""
    status = files.status(path)
    if letter == "s":
        return status.size > 0
    if letter == "f":
        return stat.S_ISREG(status.mode)
    if letter == "d":
        return stat.S_ISDIR(status.mode)
    if letter == "x":
        return bool(status.mode & 0o111)
    if letter == "w":
        return bool(status.mode) and not files.is_read_only(path)
    return letter in "aerOG" and bool(status.mode)
