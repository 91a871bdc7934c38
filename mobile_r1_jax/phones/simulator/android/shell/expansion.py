"""From words to arguments: parameters, substitutions, arithmetic, field splitting, patterns."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mobile_r1_jax.phones.simulator.android.shell import patterns
from mobile_r1_jax.phones.simulator.android.shell.arithmetic import ArithmeticFault, evaluate
from mobile_r1_jax.phones.simulator.android.shell.syntax import (
    Arithmetic,
    Parameter,
    Part,
    Substitution,
    Text,
    Word,
)

if TYPE_CHECKING:
    from mobile_r1_jax.phones.simulator.android.shell.interpreter import Shell

_Field = list[tuple[str, bool]]  # (text, quoted) pieces


class ExpansionFault(Exception):
    """A word without a value. It ends the shell, unless that is interactive."""


async def arguments(shell: Shell, words: tuple[Word, ...]) -> list[str]:
    """Return the arguments that `words` expand to: none, one or many for each word."""
    result: list[str] = []
    for word in words:
        if word.literal is not None:
            result.append(word.literal)
            continue
        for field in await _fields(shell, word):
            result += _globbed(shell, field)
    return result


async def text(shell: Shell, word: Word) -> str:
    """Return the word as one string: neither split nor matched against files."""
    return "".join(piece for piece, _ in await _pieces(shell, word)) if word.literal is None else word.literal


async def pattern(shell: Shell, word: Word) -> str:
    """Return the word as a pattern; see `patterns.escape`."""
    return patterns.escape(await _pieces(shell, word))


async def calculate(shell: Shell, expression: Word) -> int:
    """Return the value of an arithmetic expression. Raises ExpansionFault."""
    try:
        return evaluate(await text(shell, expression), shell.variables)
    except ArithmeticFault as fault:
        raise ExpansionFault(str(fault)) from fault


async def _pieces(shell: Shell, word: Word) -> _Field:
    pieces: _Field = []
    for position, part in enumerate(word.parts):
        if isinstance(part, Text):
            pieces.append((_tilde(part, shell) if position == 0 else part.value, part.quoted))
        else:
            pieces.append((await _value(shell, part), part.quoted))
    return pieces


def _tilde(part: Text, shell: Shell) -> str:
    if not part.quoted and re.match(r"~(?:/|$)", part.value):
        return shell.variables.get("HOME", "/") + part.value[1:]
    return part.value


async def _fields(shell: Shell, word: Word) -> list[_Field]:
    """Return the fields of a word. An unquoted expansion is split at $IFS, possibly into none."""
    fields: list[_Field] = []
    current: _Field | None = None
    for position, part in enumerate(word.parts):
        if isinstance(part, Text):
            value = _tilde(part, shell) if position == 0 else part.value
            current = [*(current or []), (value, part.quoted)]
            continue
        if isinstance(part, Parameter) and part.name == "@" and not part.operator:
            values = list(shell.positional)
            pieces = [[(value, True)] for value in values] if part.quoted else [[(value, False)] for value in values]
            for index, piece in enumerate(pieces):
                if index:
                    fields.append(current or [])
                    current = None
                current = [*(current or []), *piece]
            continue
        value = await _value(shell, part)
        if part.quoted:
            current = [*(current or []), (value, True)]
            continue
        for index, piece_text in enumerate(_split(value, shell.variables.get("IFS", " \t\n"))):
            if index and current is not None:
                fields.append(current)
                current = None
            if piece_text:
                current = [*(current or []), (piece_text, False)]
    return fields if current is None else [*fields, current]


def _split(value: str, separators: str) -> list[str]:
    if not separators:
        return [value]
    white = "".join(char for char in separators if char in " \t\n")
    other = "".join(char for char in separators if char not in " \t\n")
    spaces = f"[{re.escape(white)}]" if white else "(?!)"
    breaks = rf"{spaces}*[{re.escape(other)}]{spaces}*|{spaces}+" if other else f"{spaces}+"
    return re.split(breaks, value)


def _globbed(shell: Shell, field: _Field) -> list[str]:
    escaped = patterns.escape(field)
    if "f" not in shell.options and patterns.is_pattern(escaped):
        found = patterns.glob(shell.files, escaped)
        if found:
            return found
    return ["".join(piece for piece, _ in field)]


async def _value(shell: Shell, part: Part) -> str:
    if isinstance(part, Text):
        return part.value
    if isinstance(part, Substitution):
        return await shell.substitute(part.body)
    if isinstance(part, Arithmetic):
        return str(await calculate(shell, part.expression))
    return await _parameter(shell, part)


async def _parameter(shell: Shell, part: Parameter) -> str:
    value, operator = shell.parameter(part.name), part.operator
    if operator.lstrip(":") in ("-", "=", "?", "+") and operator:
        return await _alternative(shell, part, value)
    if value is None:
        if "u" in shell.options and part.name not in "@*":
            raise ExpansionFault(f"{part.name}: parameter not set")
        value = ""
    if not operator:
        return value
    if operator == "length":
        return str(len(shell.positional) if part.name in "@*" else len(value))
    assert part.argument is not None
    if operator == ":":
        return await _slice(shell, value, part.argument)
    wanted = await pattern(shell, part.argument)
    if operator in ("/", "//"):
        replacement = "" if part.replacement is None else await text(shell, part.replacement)
        anchor = wanted[:1] if wanted[:1] in ("#", "%") else ""
        body = patterns.expression(wanted[len(anchor) :]) or "(?!)"
        expression = {"#": rf"\A{body}", "%": rf"{body}\Z", "": body}[anchor]
        return re.sub(expression, lambda _: replacement, value, count=operator == "/", flags=re.DOTALL)
    return _trimmed(value, wanted, operator)


async def _alternative(shell: Shell, part: Parameter, value: str | None) -> str:
    """Return the value of ${name-word} and its kin; with a colon an empty value counts as unset."""
    assert part.argument is not None
    unset = value is None or (part.operator[0] == ":" and not value)
    kind = part.operator[-1]
    if kind == "+":
        return "" if unset else await text(shell, part.argument)
    if not unset:
        return value or ""
    alternative = await text(shell, part.argument)
    if kind == "?":
        default = "parameter null or not set" if part.operator[0] == ":" else "parameter not set"
        raise ExpansionFault(f"{part.name}: {alternative or default}")
    if kind == "=":
        shell.assign(part.name, alternative)
    return alternative


async def _slice(shell: Shell, value: str, argument: Word) -> str:
    begin_text, colon, length_text = (await text(shell, argument)).partition(":")
    try:
        begin = evaluate(begin_text, shell.variables)
        length = evaluate(length_text, shell.variables) if colon else len(value)
    except ArithmeticFault as fault:
        raise ExpansionFault(str(fault)) from fault
    begin = max(len(value) + begin, 0) if begin < 0 else begin
    return value[begin : begin + length] if length >= 0 else value[begin:length]


def _trimmed(value: str, wanted: str, operator: str) -> str:
    """Return `value` without the shortest (# %) or longest (## %%) match of a pattern at its start or end."""
    lazy, greedy = (f"(?:{patterns.expression(wanted, shortest=short)})" for short in (True, False))
    form = {"#": lazy, "##": greedy, "%": rf"(?P<kept>.*){greedy}\Z", "%%": rf"(?P<kept>.*?){greedy}\Z"}[operator]
    match = re.match(form, value, re.DOTALL)
    if match is None:
        return value
    return match["kept"] if operator[0] == "%" else value[match.end() :]
