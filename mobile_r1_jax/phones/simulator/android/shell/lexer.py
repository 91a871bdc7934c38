"""From characters to operators and words."""

from __future__ import annotations

import re
from collections.abc import Callable

from mobile_r1_jax.phones.simulator.android.shell.syntax import (
    Arithmetic,
    List,
    Parameter,
    Part,
    ShellSyntaxError,
    Substitution,
    Text,
    Word,
    word_of,
)

_BLANK = re.compile(r"(?:[ \t]|\\\n)+")
_OPERATOR = re.compile(r"&&|\|\||;;|&>|>>|>&|>\||<<<|<<-|<<|<&|<>|[;&|<>()\n]")
_DESCRIPTOR = re.compile(r"\d(?=[<>])")
_PLAIN = re.compile(r"[^ \t\n'\"\\$`;&|<>()]+")
_PLAIN_IN_QUOTES = re.compile(r'[^"\\$`]+')
_PLAIN_IN_BODY = re.compile(r"[^\\$`]+")
_PLAIN_IN_BRACES = re.compile(r"[^'\"\\$`}/]+")
_NAME = re.compile(r"[A-Za-z_]\w*|\d|[?#$!@*_-]", re.ASCII)
_BRACED_NAME = re.compile(r"[A-Za-z_]\w*|\d+|[?#$!@*-]", re.ASCII)
_MODIFIER = re.compile(r":?[-=?+]|##?|%%?|//?|:")


class Lexer:
    """A reader of operators and words at a position `at` of `text`.

    parse_substitution: parses the list that begins at an index, and returns it with the index after its `)`.
    """

    def __init__(self, text: str, at: int, parse_substitution: Callable[[str, int], tuple[List, int]]) -> None:
        self.text, self.at = text, at
        self._parse_substitution = parse_substitution

    def token(self) -> str | Word | None:
        """Return the next operator, word or, as a string of one digit, descriptor; None at the end of the text."""
        self.skip_blanks()
        if self.at >= len(self.text):
            return None
        if match := _DESCRIPTOR.match(self.text, self.at) or _OPERATOR.match(self.text, self.at):
            self.at = match.end()
            return match[0]
        return self._word(_PLAIN, quoted=False, stop="")

    def skip_blanks(self) -> None:
        """Go to the next character that is neither blank nor in a comment."""
        if match := _BLANK.match(self.text, self.at):
            self.at = match.end()
        if self.text.startswith("#", self.at):
            end = self.text.find("\n", self.at)
            self.at = len(self.text) if end < 0 else end

    def body(self, delimiter: str, *, literal: bool, strip_tabs: bool) -> Word:
        """Return the here-document that starts at the position and ends with the line `delimiter`."""
        lines: list[str] = []
        while True:
            if self.at >= len(self.text):
                raise ShellSyntaxError(f"here document '{delimiter}' unclosed", incomplete=True)
            line, newline, _ = self.text[self.at :].partition("\n")
            self.at += len(line) + len(newline)
            line = line.lstrip("\t") if strip_tabs else line
            if line == delimiter:
                break
            lines.append(line + newline)
        if literal:
            return word_of([Text("".join(lines), True)])
        inner = Lexer("".join(lines), 0, self._parse_substitution)
        return word_of(inner._quoted_parts(_PLAIN_IN_BODY, stop=""))

    def _word(self, plain: re.Pattern[str], *, quoted: bool, stop: str) -> Word:
        """Return the word at the position. It ends at white space, at an operator, or before `stop`."""
        parts: list[Part] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            if stop and char in stop:
                break
            if match := plain.match(self.text, self.at):
                parts.append(Text(match[0], quoted))
                self.at = match.end()
            elif char == "'" and not quoted:
                parts.append(Text(self._to_closing("'"), True))
            elif char == '"':
                self.at += 1
                parts += [Text("", True), *self._quoted_parts(_PLAIN_IN_QUOTES, stop='"')]
            elif char == "\\":
                following = self.text[self.at + 1 : self.at + 2]
                if following != "\n":
                    parts.append(Text(following, True))
                self.at += 2
            elif self.text.startswith("$'", self.at) and not quoted:
                self.at += 1
                parts.append(Text(_escaped(self._to_closing("'")), True))
            elif char in "$`":
                parts.append(self._dollar(quoted))
            elif stop:
                parts.append(Text(char, quoted))
                self.at += 1
            else:
                break
        return word_of(parts)

    def _to_closing(self, quote: str) -> str:
        """Return the text up to the closing quote; the position is the opening one."""
        end = self.text.find(quote, self.at + 1)
        if end < 0:
            raise ShellSyntaxError("no closing quote", incomplete=True)
        inside = self.text[self.at + 1 : end]
        self.at = end + 1
        return inside

    def _quoted_parts(self, plain: re.Pattern[str], *, stop: str) -> list[Part]:
        """Return the parts up to the closing quote `stop`, or up to the end of the text if it is empty."""
        parts: list[Part] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == stop:
                self.at += 1
                return parts
            if match := plain.match(self.text, self.at):
                parts.append(Text(match[0], True))
                self.at = match.end()
            elif char == "\\":
                following = self.text[self.at + 1 : self.at + 2]
                special = '$`"\\' if stop else "$`\\"
                text = following if following in special else "" if following == "\n" else "\\" + following
                parts.append(Text(text, True))
                self.at += 2
            else:
                parts.append(self._dollar(True))
        if stop:
            raise ShellSyntaxError("no closing quote", incomplete=True)
        return parts

    def _dollar(self, quoted: bool) -> Part:
        """Return the expansion at the position, which is $ or a backquote."""
        text, at = self.text, self.at
        if text[at] == "`":
            return self._backquoted(quoted)
        if text.startswith("$((", at) and (end := arithmetic_end(text, at + 3)) is not None:
            self.at = end + 2
            inner = Lexer(text[at + 3 : end], 0, self._parse_substitution)
            return Arithmetic(word_of(inner._quoted_parts(_PLAIN_IN_BODY, stop="")), quoted)
        if text.startswith("$(", at):
            body, self.at = self._parse_substitution(text, at + 2)
            return Substitution(body, quoted)
        if text.startswith("${", at):
            self.at += 2
            return self._braces(quoted)
        self.at += 1
        match = _NAME.match(text, self.at)
        if match is None:
            return Text("$", quoted)
        self.at = match.end()
        return Parameter(match[0], quoted)

    def _backquoted(self, quoted: bool) -> Part:
        end = self.at + 1
        while end < len(self.text) and self.text[end] != "`":
            end += 2 if self.text[end] == "\\" else 1
        if end >= len(self.text):
            raise ShellSyntaxError("no closing quote", incomplete=True)
        inside = re.sub(r"\\([$`\\])", r"\1", self.text[self.at + 1 : end])
        self.at = end + 1
        body, _ = self._parse_substitution(inside + "\n)", 0)
        return Substitution(body, quoted)

    def _braces(self, quoted: bool) -> Parameter:
        """Return the parameter in `${…}`; the position is after the opening brace."""
        length = self.text.startswith("#", self.at) and not self.text.startswith("#}", self.at)
        self.at += length
        name = _BRACED_NAME.match(self.text, self.at)
        if name is None:
            raise self._bad_substitution()
        self.at = name.end()
        operator, argument, replacement = "", None, None
        if length:
            operator = "length"
        elif match := _MODIFIER.match(self.text, self.at):
            operator = match[0]
            self.at = match.end()
            slashes = operator in ("/", "//")
            argument = self._word(_PLAIN_IN_BRACES, quoted=quoted and not slashes, stop="}/" if slashes else "}")
            if slashes and self.text.startswith("/", self.at):
                self.at += 1
                replacement = self._word(_PLAIN_IN_BRACES, quoted=quoted, stop="}")
        if not self.text.startswith("}", self.at):
            raise self._bad_substitution()
        self.at += 1
        return Parameter(name[0], quoted, operator, argument, replacement)

    def _bad_substitution(self) -> ShellSyntaxError:
        if self.at >= len(self.text):
            return ShellSyntaxError("no closing quote", incomplete=True)
        return ShellSyntaxError("bad substitution")


def arithmetic_end(text: str, at: int) -> int | None:
    """Return the index of the `))` that closes an arithmetic expression; None if this is not such an expression."""
    depth = 0
    for index in range(at, len(text)):
        if text[index] == "(":
            depth += 1
        elif text[index] == ")":
            if depth == 0:
                return index if text.startswith("))", index) else None
            depth -= 1
    return None


_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b", "E": "\x1b"}


def _escaped(text: str) -> str:
    """Return the value of `$'text'`."""

    def value(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] == "x" and len(code) > 1:
            return chr(int(code[1:], 16))
        return chr(int(code, 8)) if code[0] in "01234567" else _LETTERS.get(code, code)

    return _ESCAPE.sub(value, text)
