"""The simulated phone's shell: a part of POSIX, in which wrong quoting fails as on a real phone.

Supported: quotes, backslashes, `;`, newlines, `&&`, `||`, pipes, `&` (runs at once, like `;`), redirections (`>`, `>>`,
`<`, `2>`, `2>&1`), `$?`, `$NAME` (no variable is set), `$(…)`, backquotes, comments.
Syntax errors: functions, sub-shells in parentheses, here-documents. Control structures are unknown commands. Patterns
are not expanded.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from mobile_r1_jax.phones.simulator.android.files import FileError, Files

NOT_FOUND = 127
_DEEPEST = 20  # nested command substitutions


@dataclass(frozen=True)
class Result:
    """The result of a command: (descriptor 1 or 2, bytes) in the order of writing, and the exit status."""

    chunks: tuple[tuple[int, bytes], ...] = ()
    status: int = 0

    def output(self, descriptor: int) -> bytes:
        return b"".join(data for to, data in self.chunks if to == descriptor)


def printed(text: str | bytes, status: int = 0) -> Result:
    """Return a result with `text` on standard output."""
    data = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    return Result(((1, data),) if data else (), status)


def failed(text: str, status: int = 1) -> Result:
    """Return a result with the line `text` on standard error."""
    return Result(((2, f"{text}\n".encode(errors="surrogateescape")),), status)


class ShellSyntaxError(Exception):
    """A command line that this shell cannot parse."""


class Host(Protocol):
    """The system that the shell runs on: its files and commands."""

    files: Files

    def command(self, name: str) -> "Callable[[list[str], bytes], Result] | None": ...


@dataclass(frozen=True)
class _Part:
    kind: str  # text, variable, command
    value: str
    quoted: bool


_Word = tuple[_Part, ...]


@dataclass(frozen=True)
class _Redirection:
    descriptor: int
    operator: str  # > >> < >&
    target: _Word


@dataclass(frozen=True)
class _Command:
    words: tuple[_Word, ...]
    redirections: tuple[_Redirection, ...]


@dataclass(frozen=True)
class _Step:
    connector: str  # the operator before it: ; && ||
    pipeline: tuple[_Command, ...]


_BLANK = re.compile(r"(?:[ \t]|\\\n)+")
_OPERATOR = re.compile(r"&&|\|\||>>|>&|<<|[;&|<>()\n]")
_REDIRECTED_DIGIT = re.compile(r"[012](?:>>|>&|[<>])")
_PLAIN = re.compile(r"[^\s'\"\\$`;&|<>()]+")
_PLAIN_IN_QUOTES = re.compile(r'[^"\\$`]+')
_VARIABLE = re.compile(r"\$(?:(\w+|\?)|\{(\w+|\?)\})", re.ASCII)


def _substitution(line: str, at: int) -> tuple[str, int]:
    """Return the command inside the `$(…)` or backquotes at index `at`, and the index after it."""
    if line[at] == "`":
        end = line.find("`", at + 1)
        if end < 0:
            raise ShellSyntaxError("no closing quote")
        return line[at + 1 : end], end + 1
    depth, quote, i = 1, "", at + 2
    while i < len(line):
        char = line[i]
        if char == "\\" and quote != "'":
            i += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        else:
            depth += (char == "(") - (char == ")")
        i += 1
        if depth == 0:
            return line[at + 2 : i - 1], i
    raise ShellSyntaxError("missing ')'")


def _dollar(line: str, at: int, quoted: bool) -> tuple[_Part, int]:
    """Return the expansion at index `at`, which is $ or a backquote, and the index after it."""
    if line[at] == "`" or line.startswith("$(", at):
        command, end = _substitution(line, at)
        return _Part("command", command, quoted), end
    match = _VARIABLE.match(line, at)
    if match is None:
        return _Part("text", "$", quoted), at + 1
    return _Part("variable", match[1] or match[2], quoted), match.end()


def _double_quoted(line: str, at: int) -> tuple[list[_Part], int]:
    """Return the parts between double quotes and the index after the closing quote; `at` is the first index inside."""
    parts = [_Part("text", "", True)]
    while at < len(line) and line[at] != '"':
        if match := _PLAIN_IN_QUOTES.match(line, at):
            parts.append(_Part("text", match[0], True))
            at = match.end()
        elif line[at] == "\\":
            following = line[at + 1 : at + 2]
            kept = following if following in '$`"\\' else "" if following == "\n" else "\\" + following
            parts.append(_Part("text", kept, True))
            at += 2
        else:
            part, at = _dollar(line, at, True)
            parts.append(part)
    if at >= len(line):
        raise ShellSyntaxError("no closing quote")
    return parts, at + 1


def _word(line: str, at: int) -> tuple[_Word, int]:
    """Return the word at index `at`, and the index after it."""
    parts: list[_Part] = []
    while at < len(line):
        char = line[at]
        if match := _PLAIN.match(line, at):
            parts.append(_Part("text", match[0], False))
            at = match.end()
        elif char == "'":
            end = line.find("'", at + 1)
            if end < 0:
                raise ShellSyntaxError("no closing quote")
            parts.append(_Part("text", line[at + 1 : end], True))
            at = end + 1
        elif char == '"':
            inside, at = _double_quoted(line, at + 1)
            parts += inside
        elif char == "\\" and not line.startswith("\\\n", at):
            parts.append(_Part("text", line[at + 1 : at + 2], True))
            at += 2
        elif char in "$`":
            part, at = _dollar(line, at, False)
            parts.append(part)
        else:
            break
    return tuple(parts), at


def _tokens(line: str) -> list[str | _Word]:
    """Return operators as strings and words as tuples of parts. An operator includes the digit before a redirection."""
    tokens: list[str | _Word] = []
    at = 0
    while at < len(line):
        if match := _BLANK.match(line, at):
            at = match.end()
        elif line[at] == "#":
            end = line.find("\n", at)
            at = len(line) if end < 0 else end
        elif match := _REDIRECTED_DIGIT.match(line, at) or _OPERATOR.match(line, at):
            tokens.append(match[0])
            at = match.end()
        else:
            word, end = _word(line, at)
            if end == at:  # other white space, such as a carriage return
                at += 1
                continue
            tokens.append(word)
            at = end
    return tokens


@functools.lru_cache(maxsize=256)
def parse(line: str) -> tuple[_Step, ...]:
    """Return the steps of a command line. Raises ShellSyntaxError."""
    steps: list[_Step] = []
    pipeline: list[_Command] = []
    words: list[_Word] = []
    redirections: list[_Redirection] = []
    connector, due = ";", ""  # `due`: an operator without its right side yet

    def end_command() -> None:
        nonlocal due
        if not words and not redirections:
            raise ShellSyntaxError(f"unexpected '{due or connector}'")
        pipeline.append(_Command(tuple(words), tuple(redirections)))
        words.clear()
        redirections.clear()
        due = ""

    tokens = iter(_tokens(line))
    for token in tokens:
        if isinstance(token, tuple):
            words.append(token)
        elif token in (";", "\n", "&", "&&", "||"):
            if token == "\n" and not words and not redirections:
                continue
            end_command()
            steps.append(_Step(connector, tuple(pipeline)))
            pipeline.clear()
            connector = token if token in ("&&", "||") else ";"
            due = token if token in ("&&", "||") else ""
        elif token == "|":
            end_command()
            due = "|"
        elif token in ("(", ")", "<<"):
            raise ShellSyntaxError(f"unexpected '{token}'")
        else:
            target = next(tokens, None)
            if not isinstance(target, tuple):
                raise ShellSyntaxError(f"unexpected '{target or 'newline'}'")
            descriptor = int(token[0]) if token[0].isdigit() else 0 if token == "<" else 1
            redirections.append(_Redirection(descriptor, token.lstrip("012"), target))
    if words or redirections or due:
        end_command()
        steps.append(_Step(connector, tuple(pipeline)))
    return tuple(steps)


@dataclass
class _Run:
    """One command line during its run: depth of substitution, last exit status, output so far."""

    host: Host
    depth: int
    status: int = 0
    chunks: list[tuple[int, bytes]] = field(default_factory=list)


def run(host: Host, line: str, *, depth: int = 0) -> Result:
    """Run a command line. A syntax error gives the message of Android's mksh and status 1."""
    if depth > _DEEPEST:
        return failed("/system/bin/sh: too many nested commands")
    try:
        steps = parse(line)
    except ShellSyntaxError as error:
        return failed(f"/system/bin/sh: syntax error: {error}")
    state = _Run(host, depth)
    for step in steps:
        if (step.connector == "&&" and state.status != 0) or (step.connector == "||" and state.status == 0):
            continue
        data = b""
        for position, command in enumerate(step.pipeline):
            result = _run_command(state, command, data)
            last = position == len(step.pipeline) - 1
            data = b"" if last else result.output(1)
            state.chunks += [chunk for chunk in result.chunks if last or chunk[0] == 2]
            state.status = result.status
    return Result(tuple(state.chunks), state.status)


def _run_command(state: _Run, command: _Command, stdin: bytes) -> Result:
    arguments = [field for word in command.words for field in _expand(state, word)]
    try:
        for redirection in command.redirections:
            if redirection.operator == "<":
                stdin = state.host.files.read(_text(state, redirection.target))
            elif redirection.operator != ">&":  # the shell creates the file before the command runs
                _write(state, redirection, b"", append=redirection.operator == ">>")
        if not arguments:
            result = Result()
        elif (handler := state.host.command(arguments[0])) is None:
            result = failed(f"/system/bin/sh: {arguments[0]}: not found", NOT_FOUND)
        else:
            result = handler(arguments[1:], stdin)
        return _redirected(state, command.redirections, result)
    except FileError as error:
        return failed(f"/system/bin/sh: {error}")


def _redirected(state: _Run, redirections: tuple[_Redirection, ...], result: Result) -> Result:
    """Apply the redirections, from left to right, to the outputs of a command."""
    outputs = [item for item in redirections if item.operator != "<"]
    if not outputs:
        return result
    where: dict[int, int | _Redirection] = {1: 1, 2: 2}
    for item in outputs:
        if item.operator == ">&":
            name = _text(state, item.target)
            if name not in ("1", "2"):
                raise FileError(f"{name}: bad file descriptor")
            where[item.descriptor] = where[int(name)]
        else:
            where[item.descriptor] = item
    kept = []
    for descriptor, data in result.chunks:
        target = where[descriptor]
        if isinstance(target, _Redirection):
            _write(state, target, data, append=True)
        else:
            kept.append((target, data))
    return Result(tuple(kept), result.status)


def _write(state: _Run, redirection: _Redirection, data: bytes, *, append: bool) -> None:
    state.host.files.write(_text(state, redirection.target), data, append=append)


def _text(state: _Run, word: _Word) -> str:
    return "".join(_value(state, part) for part in word)


def _expand(state: _Run, word: _Word) -> list[str]:
    """Return the arguments of a word. An unquoted expansion is split at white space, possibly into none."""
    fields: list[str] = []
    current: str | None = None
    for part in word:
        value = _value(state, part)
        if part.quoted or part.kind == "text":
            current = (current or "") + value
            continue
        for position, piece in enumerate(re.split(r"\s+", value)):
            if position and current is not None:
                fields.append(current)
                current = None
            if piece:
                current = (current or "") + piece
    return fields if current is None else [*fields, current]


def _value(state: _Run, part: _Part) -> str:
    if part.kind == "text":
        return part.value
    if part.kind == "variable":
        return str(state.status) if part.value == "?" else ""
    result = run(state.host, part.value, depth=state.depth + 1)
    state.status = result.status
    state.chunks += [chunk for chunk in result.chunks if chunk[0] == 2]
    return result.output(1).decode(errors="surrogateescape").rstrip("\n")
