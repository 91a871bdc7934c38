"""toybox commands for lines of text: cat, head, tail, cut, sort, uniq, wc, tr, rev, tac, nl, seq, and check sums."""

import base64 as base64_codec
import hashlib
import re
from itertools import groupby

from mobile_r1_jax.phones.simulator.android.commands.toybox.options import (
    Source,
    UsageFault,
    parse,
    sources,
    tool,
    usage,
)
from mobile_r1_jax.phones.simulator.android.files import FileError
from mobile_r1_jax.phones.simulator.android.shell import Process
from mobile_r1_jax.phones.simulator.android.system import Android

_LONGEST_SEQUENCE = 1_000_000
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")


@tool()
async def cat(android: Android, process: Process) -> int:
    """`cat [-e] [-u] [FILE …]`. Standard input is passed on piece by piece."""
    options = parse(process, "eu")
    status = 0
    for path in options.operands or ["-"]:
        if path == "-":
            await process.shell.session.flush()
            while piece := await process.stdin.some():
                process.out(piece.replace(b"\n", b"$\n") if "e" in options else piece)
                await process.shell.session.flush()
            continue
        try:
            data = process.files.read(path)
        except FileError as error:
            status = process.fail(str(error))
            continue
        process.out(data.replace(b"\n", b"$\n") if "e" in options else data)
    return status


def _count_options(process: Process) -> None:
    """Replace the old form `-5` by `-n 5`."""
    if process.arguments and re.fullmatch(r"-\d+", process.arguments[0]):
        process.arguments[:1] = ["-n", process.arguments[0][1:]]


def _print_heads(process: Process, read: list[Source], position: int, *, quiet: bool, always: bool) -> None:
    if always or (len(read) > 1 and not quiet):
        name = "standard input" if read[position].name == "-" else read[position].name
        process.print(("\n" if position else "") + f"==> {name} <==\n")


@tool()
async def head(android: Android, process: Process) -> int:
    _count_options(process)
    options = parse(process, "c:n:qv")
    count, size = options.number("n", process), options.number("c", process)
    if count is not None and count < 0:
        raise usage(process, "-n < 0")
    read, complete = await sources(process, options.operands)
    for position, source in enumerate(read):
        _print_heads(process, read, position, quiet="q" in options, always="v" in options)
        lines = _LINE.findall(source.data)
        process.out(source.data[:size] if size is not None else b"".join(lines[: 10 if count is None else count]))
    return int(not complete)


@tool()
async def tail(android: Android, process: Process) -> int:
    """`tail [-n [+]N] [-c [+]N] [FILE …]`; there is no -f."""
    _count_options(process)
    options = parse(process, "c:n:q")
    letter = "c" if "c" in options else "n"
    value = options.value(letter) or "10"
    count = options.number(letter, process) or (10 if letter not in options else 0)
    read, complete = await sources(process, options.operands)
    for position, source in enumerate(read):
        _print_heads(process, read, position, quiet="q" in options, always=False)
        pieces = _LINE.findall(source.data) if letter == "n" else [bytes([b]) for b in source.data]
        start = max(count - 1, 0) if value.startswith("+") else max(len(pieces) - abs(count), 0)
        process.out(b"".join(pieces[start:]))
    return int(not complete)


@tool()
async def cut(android: Android, process: Process) -> int:
    options = parse(process, "b:c:d:f:s")
    kinds = [letter for letter in "bcf" if letter in options]
    if not kinds:
        raise usage(process, "Needs -CFfcb")
    ranges = _ranges(options.value(kinds[0]) or "", kinds[0])
    delimiter = options.value("d") or "\t"
    read, complete = await sources(process, options.operands)
    for source in read:
        for line in source.lines:
            if kinds[0] != "f":
                process.print("".join(_chosen(list(line), ranges)) + "\n")
            elif delimiter in line:
                process.print(delimiter.join(_chosen(line.split(delimiter), ranges)) + "\n")
            elif "s" not in options:
                process.print(line + "\n")
    return int(not complete)


def _ranges(text: str, letter: str) -> list[tuple[int, int | None]]:
    """Return the ranges of a list such as 1,3-5,7-, from 1 on; None is the end."""
    result: list[tuple[int, int | None]] = []
    for item in text.split(","):
        match = re.fullmatch(r"(\d*)(-?)(\d*)", item)
        if match is None or not (match[1] or match[3]) or match[1] == "0":
            raise UsageFault(f"bad -{letter} '{text}'")
        begin = int(match[1] or "1")
        result.append((begin, int(match[3]) if match[3] else None if match[2] else begin))
    return sorted(result, key=lambda item: item[0])


def _chosen(items: list[str], ranges: list[tuple[int, int | None]]) -> list[str]:
    return [
        item
        for number, item in enumerate(items, 1)
        if any(begin <= number and (end is None or number <= end) for begin, end in ranges)
    ]


@tool(failure=2)
async def sort(android: Android, process: Process) -> int:
    options = parse(process, "bcfk:no:rt:u")
    read, complete = await sources(process, options.operands)
    lines = [line for source in read for line in source.lines]
    keys = [_sort_key(text) for text in options.values.get("k", [])] or [(1, None, "")]
    letters = "".join(options.flags & {"b", "f", "n", "r"})

    def value(line: str, key: tuple[int, int | None, str]) -> tuple[float, str]:
        begin, end, own = key
        fields = line.split(options.value("t")) if "t" in options else re.findall(r"\s*\S+", line)
        joined = (options.value("t") or "").join(fields[begin - 1 : end]) if "k" in options else line
        joined = joined.strip() if "n" in own or "b" in own else joined
        joined = joined.upper() if "f" in own else joined
        number = re.match(r"\s*-?\d*\.?\d*", joined) if "n" in own else None
        try:
            return float(number[0]) if number else 0.0, "" if "n" in own else joined
        except ValueError:
            return 0.0, ""

    ordered = sorted(lines, reverse="r" in letters)
    for key in reversed(keys):
        key = key[0], key[1], key[2] or letters
        ordered.sort(key=lambda line: value(line, key), reverse="r" in key[2])
    if "c" in options:
        return int(ordered != lines)
    if "u" in options:
        own = [(begin, end, mine or letters) for begin, end, mine in keys]
        ordered = [next(group) for _, group in groupby(ordered, key=lambda line: [value(line, key) for key in own])]
    output = "".join(f"{line}\n" for line in ordered)
    if "o" in options:
        process.files.write(options.value("o") or "", output.encode(errors="surrogateescape"))
    else:
        process.print(output)
    return 0 if complete else 2


def _sort_key(text: str) -> tuple[int, int | None, str]:
    """Return (first field, last field, letters) of a key such as 2, 2,2 or 1,1nr."""
    match = re.fullmatch(r"(\d+)([bfnr]*)(?:,(\d+)([bfnr]*))?", text)
    if match is None or match[1] == "0":
        raise UsageFault(f"bad -k '{text}'")
    return int(match[1]), int(match[3]) if match[3] else None, match[2] + (match[4] or "")


@tool()
async def uniq(android: Android, process: Process) -> int:
    options = parse(process, "cdiu", most=2)
    read, complete = await sources(process, options.operands[:1])
    output = ""
    for _, group in groupby(read[0].lines if read else [], key=str.lower if "i" in options else str):
        lines = list(group)
        if ("d" in options and len(lines) == 1) or ("u" in options and len(lines) > 1):
            continue
        output += (f"{len(lines):7d} " if "c" in options else "") + lines[0] + "\n"
    if len(options.operands) == 2:
        process.files.write(options.operands[1], output.encode(errors="surrogateescape"))
    else:
        process.print(output)
    return int(not complete)


@tool()
async def wc(android: Android, process: Process) -> int:
    options = parse(process, "clmw")
    read, complete = await sources(process, options.operands)
    letters = [letter for letter in "lwcm" if letter in options] or ["l", "w", "c"]
    rows = []
    for source in read:
        data = source.data
        counts = {"l": data.count(b"\n"), "w": len(data.split()), "c": len(data), "m": len(source.text)}
        rows.append(([counts[letter] for letter in letters], "" if source.name == "-" else source.name))
    if len(options.operands) > 1:
        rows.append(([sum(column) for column in zip(*(counts for counts, _ in rows), strict=True)], "total"))
    alone = len(options.operands) == 1 or len(letters) == 1
    for counts, name in rows:
        numbers = " ".join(str(count) if alone else f"{count:7d}" for count in counts)
        process.print(f"{numbers} {name}".rstrip() + "\n")
    return int(not complete)


_CLASSES = {
    "[:lower:]": "abcdefghijklmnopqrstuvwxyz",
    "[:upper:]": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "[:digit:]": "0123456789",
    "[:space:]": " \t\n\r\v\f",
    "[:blank:]": " \t",
}
_CLASSES["[:alpha:]"] = _CLASSES["[:upper:]"] + _CLASSES["[:lower:]"]
_CLASSES["[:alnum:]"] = _CLASSES["[:digit:]"] + _CLASSES["[:alpha:]"]
_CLASSES["[:punct:]"] = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def _set(text: str) -> str:
    """Return the characters of a set such as a-z, [:digit:] or \\n."""
    result = ""
    for match in re.finditer(r"(\[:\w+:\])|(\\[0-7]{1,3}|\\?.)(?:-(\\?.))?", text, re.DOTALL):
        if match[1]:
            result += _CLASSES.get(match[1], "")
        else:
            first, last = _character(match[2]), _character(match[3]) if match[3] else None
            result += first if last is None else "".join(map(chr, range(ord(first), ord(last) + 1)))
    return result


def _character(text: str) -> str:
    if text[0] != "\\" or len(text) == 1:
        return text
    return chr(int(text[1:], 8)) if text[1] in "01234567" else _ESCAPES.get(text[1], text[1])


@tool()
async def tr(android: Android, process: Process) -> int:
    options = parse(process, "cCds", least=1, most=2)
    sets = [_set(text) for text in options.operands]
    if len(sets) == 1 and not options.flags & {"d", "s"}:
        raise usage(process, "Needs 2 arguments")
    first = sets[0]
    read, _ = await sources(process, [])
    text = read[0].text
    complement = bool(options.flags & {"c", "C"})

    def inside(char: str) -> bool:
        return (char in first) != complement

    if "d" in options:
        text = "".join(char for char in text if not inside(char))
    elif len(sets) == 2 and sets[1]:
        second = sets[1].ljust(len(first), sets[1][-1])
        table = {char: second[first.index(char)] for char in first}
        text = "".join((sets[1][-1] if complement else table[char]) if inside(char) else char for char in text)
    if "s" in options:
        squeezed = sets[-1]
        text = "".join(
            char for char, before in zip(text, "\0" + text, strict=False) if char != before or char not in squeezed
        )
    process.print(text)
    return 0


@tool()
async def rev(android: Android, process: Process) -> int:
    read, complete = await sources(process, parse(process, "").operands)
    process.print("".join(f"{line[::-1]}\n" for source in read for line in source.lines))
    return int(not complete)


@tool()
async def tac(android: Android, process: Process) -> int:
    read, complete = await sources(process, parse(process, "").operands)
    process.print("".join(f"{line}\n" for source in read for line in reversed(source.lines)))
    return int(not complete)


@tool()
async def nl(android: Android, process: Process) -> int:
    """`nl [-b a] [FILE …]`: numbers the lines, without -b a only those that are not empty."""
    options = parse(process, "b:")
    read, complete = await sources(process, options.operands)
    number = 0
    for line in (line for source in read for line in source.lines):
        counted = bool(line) or options.value("b") == "a"
        number += counted
        process.print(f"{number:6d}\t{line}\n" if counted else " " * 7 + "\n")
    return int(not complete)


@tool()
async def seq(android: Android, process: Process) -> int:
    """`seq [-s STRING] [FIRST [STEP]] LAST`, with whole numbers."""
    words = process.arguments
    separator = "\n"
    if words and words[0].startswith("-s"):
        separator = words[0][2:] or words[1] if len(words) > 1 else separator
        words = words[1:] if words[0] != "-s" else words[2:]
    if not 1 <= len(words) <= 3:
        raise usage(process, "Needs 1 argument" if not words else "Max 3 arguments")
    for word in words:
        if not re.fullmatch(r"[-+]?\d{1,15}", word):
            raise UsageFault(f"bad number '{word}'")
    numbers = [int(word) for word in words]
    first, last = numbers[0] if len(numbers) > 1 else 1, numbers[-1]
    step = numbers[1] if len(numbers) == 3 else 1
    if step == 0:
        raise UsageFault("bad number '0'")
    values = range(first, last + (1 if step > 0 else -1), step)[:_LONGEST_SEQUENCE]
    process.print(separator.join(map(str, values)) + ("\n" if values else ""))
    return 0


@tool()
async def checksum(android: Android, process: Process) -> int:
    """`md5sum [-b] [FILE …]` and the same for sha1, sha224, sha256, sha384 and sha512."""
    options = parse(process, "b")
    read, complete = await sources(process, options.operands)
    for source in read:
        digest = hashlib.new(process.name.removesuffix("sum"), source.data).hexdigest()
        process.print(digest + ("" if "b" in options else f"  {source.name}") + "\n")
    return int(not complete)


@tool()
async def base64(android: Android, process: Process) -> int:
    options = parse(process, "diw:", most=1)
    width = options.number("w", process)
    read, complete = await sources(process, options.operands)
    data = b"".join(source.data for source in read)
    if "d" in options:
        kept = re.sub(rb"[^A-Za-z0-9+/]", b"", data)
        process.out(base64_codec.b64decode(kept + b"=" * (-len(kept) % 4)))
        return int(not complete)
    text = base64_codec.b64encode(data).decode()
    step = 76 if width is None else width or max(len(text), 1)
    lines = [text[at : at + step] for at in range(0, len(text), step)]
    process.print("\n".join(lines) + ("\n" if width != 0 and lines else ""))
    return int(not complete)
