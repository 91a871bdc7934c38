"""From a command line to its syntax tree."""

from __future__ import annotations

import functools
import re
from typing import Literal, cast

from mobile_r1_jax.phones.simulator.android.shell.lexer import Lexer, arithmetic_end
from mobile_r1_jax.phones.simulator.android.shell.syntax import (
    AndOr,
    Assignment,
    Calculation,
    Case,
    Command,
    For,
    Function,
    Group,
    If,
    List,
    Loop,
    Pipeline,
    Redirected,
    Redirection,
    ShellSyntaxError,
    Simple,
    Test,
    Text,
    Word,
    word_of,
)

_CLOSING = {"then", "else", "elif", "fi", "do", "done", "esac", "}", ")", ";;"}
_REDIRECTIONS = {"<", ">", ">>", ">|", "<>", "<&", ">&", "&>", "<<", "<<-", "<<<"}
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?)=", re.ASCII)
_FUNCTION_NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")


@functools.lru_cache(maxsize=256)
def parse(line: str) -> List:
    """Return the syntax tree of a command line. Raises ShellSyntaxError."""
    try:
        parser = _Parser(line, 0)
        body = parser.list()
        if parser.peek() is not None:
            raise parser.unexpected()
    except RecursionError:
        raise ShellSyntaxError("syntax error: too many nested commands") from None
    return body


def _parse_substitution(text: str, at: int) -> tuple[List, int]:
    """Return the list at index `at` up to its closing parenthesis, and the index after it."""
    parser = _Parser(text, at)
    parser.open("(")
    body = parser.list()
    parser.close(")")
    return body, parser.lexer.at


class _Parser:
    """A recursive descent parser with one token of look-ahead."""

    def __init__(self, text: str, at: int) -> None:
        self.lexer = Lexer(text, at, _parse_substitution)
        self._ahead: tuple[str | Word | None, int, int] | None = None  # the next token, its start and its end
        self._open: list[str] = []  # what still has to be closed
        self._bodies: list[Redirection] = []  # here-documents that follow the line

    def peek(self) -> str | Word | None:
        """Return the next token without taking it."""
        if self._ahead is None:
            self.lexer.skip_blanks()
            start = self.lexer.at
            self._ahead = self.lexer.token(), start, self.lexer.at
        return self._ahead[0]

    def take(self) -> str | Word | None:
        token = self.peek()
        self._ahead = None
        if token == "\n" and self._bodies:
            for redirection in self._bodies:
                self._read_body(redirection)
            self._bodies.clear()
        return token

    def _read_body(self, redirection: Redirection) -> None:
        target = redirection.target
        delimiter = "".join(part.value for part in target.parts if isinstance(part, Text))
        literal = any(getattr(part, "quoted", False) for part in target.parts)
        redirection.body = self.lexer.body(delimiter, literal=literal, strip_tabs=redirection.operator == "<<-")

    @property
    def _source(self) -> str:
        """The characters of the next token."""
        self.peek()
        assert self._ahead is not None
        return self.lexer.text[self._ahead[1] : self._ahead[2]]

    def unexpected(self) -> ShellSyntaxError:
        """Return the error for the next token, in mksh's words."""
        if self.peek() is not None:
            source = "newline" if self._source == "\n" else self._source
            return ShellSyntaxError(f"syntax error: unexpected '{source}'")
        if self._bodies:
            delimiter = self._bodies[0].target.literal or ""
            return ShellSyntaxError(f"here document '{delimiter}' unclosed", incomplete=True)
        what = f"unmatched '{self._open[-1]}'" if self._open else "unexpected EOF"
        return ShellSyntaxError(f"syntax error: {what}", incomplete=True)

    def open(self, name: str) -> None:
        self._open.append(name)

    def close(self, name: str) -> None:
        """Take the token `name`, which closes what was opened last."""
        self._expect(name)
        self._open.pop()

    def _expect(self, name: str) -> None:
        if self.peek() is None or self._source != name:
            raise self.unexpected()
        self.take()

    def _is(self, name: str) -> bool:
        return self.peek() is not None and self._source == name

    def _skip_newlines(self) -> None:
        while self.peek() == "\n":
            self.take()

    def list(self) -> List:
        """Return the commands up to the end of the text or a closing token."""
        items: list[AndOr] = []
        self._skip_newlines()
        while self.peek() is not None and self._source not in _CLOSING:
            steps: list[tuple[Literal["", "&&", "||"], Pipeline]] = [("", self._pipeline())]
            while self.peek() in ("&&", "||"):
                connector = cast(Literal["&&", "||"], self.take())
                self._skip_newlines()
                steps.append((connector, self._pipeline()))
            end = self.peek()
            first = steps[0][1]
            alone = len(steps) == 1 and len(first.commands) == 1 and not first.negated
            items.append(AndOr(tuple(steps), end == "&", first.commands[0] if alone else None))
            if end not in (";", "&", "\n"):
                break
            self.take()
            self._skip_newlines()
        if self._bodies and self.peek() is None:
            raise self.unexpected()
        return tuple(items)

    def _body(self, opening: str, closing: str) -> List:
        """Return the list between two tokens, which may not be empty."""
        self._expect(opening)
        body = self.list()
        if not body or not self._is(closing):
            raise self.unexpected()
        return body

    def _pipeline(self) -> Pipeline:
        negated = False
        while self._is("!"):
            self.take()
            negated = not negated
        commands = [self._command()]
        while self.peek() == "|":
            self.take()
            self._skip_newlines()
            commands.append(self._command())
        return Pipeline(tuple(commands), negated)

    def _command(self) -> Command:
        if self.peek() is None or self._source in _CLOSING:
            raise self.unexpected()
        compound = self._compound()
        if compound is None:
            return self._simple()
        redirections: list[Redirection] = []
        while self._redirection(redirections):
            pass
        return Redirected(compound, tuple(redirections)) if redirections else compound

    def _compound(self) -> Command | None:
        """Return the compound command at the position; None if it is a simple command."""
        source = self._source
        if source == "(" and self.lexer.text.startswith("(", self.lexer.at):
            end = arithmetic_end(self.lexer.text, self.lexer.at + 1)
            if end is not None:
                return self._calculation(end)
        reader = {
            "(": self._group,
            "{": self._group,
            "if": self._if,
            "while": self._loop,
            "until": self._loop,
            "for": self._for,
            "case": self._case,
            "function": self._function,
            "[[": self._test,
        }.get(source)
        if reader is not None:
            return reader()
        after = re.compile(r"[ \t]*\([ \t]*\)").match(self.lexer.text, self.lexer.at)
        if after is not None and _FUNCTION_NAME.fullmatch(source):
            self.take()
            self.lexer.at = after.end()
            self._skip_newlines()
            return Function(source, self._command())
        return None

    def _group(self) -> Command:
        opening = str(self._source)
        self.take()
        self.open(opening)
        body = self.list()
        if not body:
            raise self.unexpected()
        self.close(")" if opening == "(" else "}")
        return Group(body, subshell=opening == "(")

    def _calculation(self, end: int) -> Command:
        expression = self.lexer.text[self.lexer.at + 1 : end]
        self._ahead = None
        self.lexer.at = end + 2
        word = Lexer(f'"{expression}"', 0, _parse_substitution).token()
        assert isinstance(word, Word)
        return Calculation(word)

    def _if(self) -> Command:
        self.take()
        self.open("if")
        branches: list[tuple[List, List]] = []
        otherwise: List = ()
        while True:
            condition = self.list()
            self._expect("then")
            body = self.list()
            if not condition or not body:
                raise self.unexpected()
            branches.append((condition, body))
            if self._is("elif"):
                self.take()
                continue
            if self._is("else"):
                self.take()
                otherwise = self.list()
            self.close("fi")
            return If(tuple(branches), otherwise)

    def _loop(self) -> Command:
        name = self._source
        self.take()
        self.open(name)
        condition = self.list()
        if not condition:
            raise self.unexpected()
        return Loop(condition, self._do(), until=name == "until")

    def _do(self) -> List:
        body = self._body("do", "done")
        self.close("done")
        return body

    def _for(self) -> Command:
        self.take()
        name = self._source
        if not isinstance(self.peek(), Word):
            raise self.unexpected()
        self.take()
        self.open("for")
        words: list[Word] | None = None
        self._skip_newlines()
        if self._is("in"):
            self.take()
            words = []
            while isinstance(token := self.peek(), Word):
                self.take()
                words += _braces(token)
        if self.peek() == ";":
            self.take()
        self._skip_newlines()
        return For(name, None if words is None else tuple(words), self._do())

    def _case(self) -> Command:
        self.take()
        word = self._take_word()
        self.open("case")
        self._skip_newlines()
        self._expect("in")
        self._skip_newlines()
        branches: list[tuple[tuple[Word, ...], List]] = []
        while not self._is("esac"):
            if self.peek() == "(":
                self.take()
            patterns = [self._take_word()]
            while self.peek() == "|":
                self.take()
                patterns.append(self._take_word())
            self._expect(")")
            branches.append((tuple(patterns), self.list()))
            if self.peek() == ";;":
                self.take()
            elif not self._is("esac"):
                raise self.unexpected()
            self._skip_newlines()
        self.close("esac")
        return Case(word, tuple(branches))

    def _function(self) -> Command:
        self.take()
        name = self._source
        self._take_word()
        if self.peek() == "(":
            self.take()
            self._expect(")")
        self._skip_newlines()
        return Function(name, self._command())

    def _test(self) -> Command:
        self.take()
        tokens: list[Word | str] = []
        while not self._is("]]"):
            token = self.take()
            if token is None:
                raise ShellSyntaxError("syntax error: unexpected EOF", incomplete=True)
            if token != "\n":
                tokens.append(token)
        self.take()
        return Test(tuple(tokens))

    def _take_word(self) -> Word:
        token = self.peek()
        if not isinstance(token, Word):
            raise self.unexpected()
        self.take()
        return token

    def _redirection(self, into: list[Redirection]) -> bool:
        """Take a redirection, if one is next."""
        token = self.peek()
        descriptor = None
        if isinstance(token, str) and token.isdigit():
            descriptor = int(token)
            self.take()
            token = self.peek()
        if not isinstance(token, str) or token not in _REDIRECTIONS:
            return False
        self.take()
        if descriptor is None:
            descriptor = 0 if token[0] == "<" else 1
        redirection = Redirection(descriptor, token, self._take_word())
        if token in ("<<", "<<-"):
            self._bodies.append(redirection)
        into.append(redirection)
        return True

    def _simple(self) -> Simple:
        assignments: list[Assignment] = []
        words: list[Word] = []
        redirections: list[Redirection] = []
        while True:
            token = self.peek()
            if isinstance(token, Word):
                self.take()
                assignment = _assignment(token) if not words else None
                if assignment is not None:
                    assignments.append(assignment)
                else:
                    words += _braces(token)
            elif not self._redirection(redirections):
                break
        if not words and not assignments and not redirections:
            raise self.unexpected()
        literals = tuple(word.literal for word in words if word.literal is not None)
        return Simple(
            tuple(assignments), tuple(words), tuple(redirections), literals if len(literals) == len(words) else None
        )


def _assignment(word: Word) -> Assignment | None:
    first = word.parts[0] if word.parts else None
    if not isinstance(first, Text) or first.quoted or (match := _ASSIGNMENT.match(first.value)) is None:
        return None
    value = word_of([Text(first.value[match.end() :], False), *word.parts[1:]])
    return Assignment(match[1], value, bool(match[2]))


def _braces(word: Word) -> list[Word]:
    """Return the words of a brace expansion such as `{a,b}.png`. mksh has no ranges."""
    if len(word.parts) != 1 or not isinstance(part := word.parts[0], Text) or part.quoted:
        return [word]
    match = _BRACES.search(part.value)
    if match is None:
        return [word]
    before, after = part.value[: match.start()], part.value[match.end() :]
    choices = (before + choice + after for choice in match[1].split(","))
    return [expanded for choice in choices for expanded in _braces(word_of([Text(choice, False)]))]
