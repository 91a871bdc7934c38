"""Slots: `{name}` in a text of a task file, replaced by a value. `{{name}}` gives {name}; `${name}` is the shell's.

In a shell line every value is quoted, so that it stays one word and its characters have no meaning to the shell.
"""

import re
import shlex
from collections.abc import Callable, Mapping

_NAME = r"([^\W\d]\w*)"
_SLOT = re.compile(rf"\{{\{{{_NAME}\}}\}}|(?<!\$)\{{{_NAME}\}}")


def slots(text: str) -> list[str]:
    """Return the names of the slots of a text, in order."""
    return [match[2] for match in _SLOT.finditer(text) if match[2]]


def fill(text: str, values: Mapping[str, str], quote: Callable[[str], str] = str) -> str:
    """Return the text with each slot replaced by its value, changed by `quote`."""
    return _SLOT.sub(lambda match: quote(values[match[2]]) if match[2] else f"{{{match[1]}}}", text)


def fill_line(line: str, values: Mapping[str, str]) -> str:
    """Return a shell line with each slot replaced by its quoted value."""
    return fill(line, values, shlex.quote)


def fill_pattern(pattern: str, values: Mapping[str, str]) -> str:
    """Return a regular expression with each slot replaced by a group that matches the value's characters."""
    return fill(pattern, values, lambda value: f"(?:{re.escape(value)})")


def misplaced_slot(line: str) -> str:
    """Return the name of a slot of a shell line that is inside quotes, where a quoted value would break; else ""."""
    matches = [match for match in _SLOT.finditer(line) if match[2]]
    if matches and "<<" in line:  # quotes have no meaning in a here-document
        return matches[0][2]
    bare = _outside_quotes(line)
    return next((match[2] for match in matches if not bare[match.start()]), "")


def _outside_quotes(line: str) -> list[bool]:
    """Return for each character whether it is outside quotes and not after a backslash. `$(…)` begins outside."""
    bare = [True] * len(line)
    inside: list[str] = []  # open quotes and parentheses
    at = 0
    while at < len(line):
        char, top = line[at], inside[-1] if inside else ""
        bare[at] = top in ("", "(")
        if char == "\\" and top != "'":
            bare[at : at + 2] = [False] * len(bare[at : at + 2])
            at += 1
        elif top == "'":
            if char == "'":
                inside.pop()
        elif char == '"':
            inside.pop() if top == '"' else inside.append('"')
        elif char == "'" and top != '"':
            inside.append("'")
        elif line.startswith("$(", at):
            inside.append("(")
            at += 1
        elif char == "(" and top == "(":
            inside.append("(")
        elif char == ")" and top == "(":
            inside.pop()
        at += 1
    return bare
