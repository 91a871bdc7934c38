"""echo and print of mksh, printf of toybox."""

import re

from mobile_r1_jax.phones.simulator.android.shell.streams import Process

_ESCAPE = re.compile(r"\\(0[0-7]{0,3}|x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{1,4}|[0-7]{1,3}|.)", re.DOTALL)
_LETTERS = {"a": "\a", "b": "\b", "e": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_CONVERSION = re.compile(r"%%|%([-+ 0#]*)(\*|\d+)?(?:\.(\d+))?([a-zA-Z])")


class _Cut(Exception):
    """`\\c`: the output ends here."""


def _unescaped(text: str, *, octal: bool = False) -> str:
    """Return `text` with its escapes replaced, with `octal` also those of the form NNN. Raises _Cut at c."""
    position, result = 0, ""
    for match in _ESCAPE.finditer(text):
        result += text[position : match.start()]
        position = match.end()
        code = match[1]
        if code == "c":
            raise _Cut(result)
        if code[0] == "0" or (octal and code[0] in "1234567"):
            result += _byte(int(code, 8) & 255)
        elif code[0] == "x" and len(code) > 1:
            result += _byte(int(code[1:], 16))
        elif code[0] == "u" and len(code) > 1:
            result += chr(int(code[1:], 16))
        else:
            result += _LETTERS.get(code, match[0])
    return result + text[position:]


def _byte(value: int) -> str:
    return bytes([value]).decode(errors="surrogateescape")


async def echo(process: Process) -> int:
    """`echo [-neE] [WORD …]`; escapes are replaced unless -E is given, as in mksh."""
    words, newline, escapes = list(process.arguments), "\n", True
    while words and re.fullmatch(r"-[neE]+", words[0]):
        for letter in words.pop(0)[1:]:
            if letter == "n":
                newline = ""
            else:
                escapes = letter == "e"
    text = " ".join(words)
    try:
        process.print((_unescaped(text) if escapes and "\\" in text else text) + newline)
    except _Cut as cut:
        process.print(str(cut))
    return 0


async def print_(process: Process) -> int:
    """`print [-nr] [WORD …]`."""
    words, letters = list(process.arguments), ""
    while words and re.fullmatch(r"-[nr]*", words[0]):
        letters += words.pop(0)[1:]
    text = " ".join(words)
    process.print((text if "r" in letters else _unescaped(text)) + ("" if "n" in letters else "\n"))
    return 0


async def printf(process: Process) -> int:
    """`printf FORMAT [ARGUMENT …]`; the format is used again until no argument is left."""
    if not process.arguments:
        return process.fail('Needs 1 argument (see "printf --help")')
    form, *left = process.arguments
    status = 0
    while True:
        before = len(left)
        try:
            for kind, text in _directives(form):
                piece = text if kind == "" else _converted(process, kind, text, left)
                if piece is None:
                    status, piece = 1, ""
                process.print(piece)
        except _Cut as cut:
            process.print(str(cut))
            return status
        if not left or len(left) == before:
            return status


def _directives(form: str) -> list[tuple[str, str]]:
    """Return (conversion letter, directive) or ("", text) for the pieces of a format."""
    pieces, position = [], 0
    for match in _CONVERSION.finditer(form):
        pieces.append(("", _unescaped(form[position : match.start()], octal=True)))
        pieces.append(("", "%") if match[0] == "%%" else (match[4], match[0]))
        position = match.end()
    return [*pieces, ("", _unescaped(form[position:], octal=True))]


def _converted(process: Process, kind: str, directive: str, left: list[str]) -> str | None:
    """Return the text of one conversion, which takes its argument from `left`; None after an error message."""
    if "*" in directive:
        directive = directive.replace("*", left.pop(0) if left and left[0].lstrip("-").isdigit() else "0")
    argument = left.pop(0) if left else ""
    flags = directive[:-1]
    if kind in "sb":
        return f"{flags}s" % (_unescaped(argument) if kind == "b" else argument)
    if kind == "c":
        return f"{flags}s" % argument[:1]
    try:
        if kind in "diouxX":
            number = ord(argument[1]) if argument[:1] in "'\"" and len(argument) > 1 else int(argument or "0", 0)
            return (flags + ("d" if kind in "iu" else kind)) % number
        if kind in "eEfFgG":
            return (flags + kind) % float(argument or "0")
    except ValueError:
        pass
    process.complain(f"bad {directive} {argument}".rstrip())
    return None
