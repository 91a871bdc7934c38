"""POSIX regular expressions, basic and extended, as Python's."""

import functools
import re

_BRACKET = re.compile(r"\[\^?\]?(?:\[:\w+:\]|[^\]])*\]")
_CLASSES = {"alnum": r"\w", "alpha": "a-zA-Z", "blank": r" \t", "digit": "0-9", "lower": "a-z", "space": r"\s",
            "upper": "A-Z", "xdigit": "0-9a-fA-F", "punct": r"!-/:-@\[-`{-~"}  # fmt: skip
_SPECIAL = "(){}|+?"


class BadExpression(Exception):
    """A regular expression that cannot be read."""


@functools.lru_cache(maxsize=256)
def compiled(expression: str, *, extended: bool, ignore_case: bool = False, fixed: bool = False) -> re.Pattern[str]:
    """Return the Python pattern of a POSIX regular expression. Raises BadExpression."""
    python = re.escape(expression) if fixed else _python(expression, extended=extended)
    try:
        return re.compile(python, re.IGNORECASE if ignore_case else 0)
    except (re.error, OverflowError) as error:
        raise BadExpression(f"bad regex '{expression}': Invalid regular expression") from error


def _python(expression: str, *, extended: bool) -> str:
    result, at = "", 0
    while at < len(expression):
        char = expression[at]
        if char == "[" and (match := _BRACKET.match(expression, at)):
            result += _bracket(match[0])
            at = match.end()
            continue
        if char == "\\" and at + 1 < len(expression):
            result += _escape(expression[at + 1], extended=extended)
            at += 2
            continue
        at += 1
        if char in _SPECIAL and not extended:
            result += "\\" + char
        elif char == "*" and (not result or result.endswith(("(", "|"))):
            result += r"\*"
        elif not extended and char == "^" and result and not result.endswith(("(", "|")):
            result += r"\^"
        elif not extended and char == "$" and at < len(expression) and not expression.startswith((r"\)", r"\|"), at):
            result += r"\$"
        else:
            result += r"\Z" if char == "$" else char
    return result


def _escape(char: str, *, extended: bool) -> str:
    if char in _SPECIAL:
        return "\\" + char if extended else char
    if char in "<>":
        return r"\b"
    return "\\" + char if char.isdigit() or char in "wWsSbB" else re.escape(char)


def _bracket(text: str) -> str:
    negated = text.startswith("[^")
    inside = text[1 + negated : -1].replace("\\", r"\\")
    inside = re.sub(r"\[:(\w+):\]", lambda match: "\0" + match[1] + "\0", inside)
    inside = inside.replace("[", r"\[").replace("]", r"\]")
    inside = re.sub("\0(\\w+)\0", lambda match: _CLASSES.get(match[1], ""), inside)
    inside = "\\" + inside if inside.startswith("^") else inside
    return f"[{'^' if negated else ''}{inside}]"
