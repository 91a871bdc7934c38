"""Common Unix commands: echo, cat, ls, rm, mkdir, grep, date, whoami, true, false."""

import re
import time

from mobile_r1_jax.phones.simulator.android.files import FileError
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android


def _options(arguments: list[str]) -> tuple[set[str], list[str]]:
    """Return the single-letter options before the operands, and the operands."""
    letters: set[str] = set()
    for position, argument in enumerate(arguments):
        if argument == "--":
            return letters, arguments[position + 1 :]
        if not argument.startswith("-") or argument == "-":
            return letters, arguments[position:]
        letters |= set(argument[1:])
    return letters, []


def echo(android: Android, arguments: list[str], stdin: bytes) -> Result:
    if arguments[:1] == ["-n"]:
        return printed(" ".join(arguments[1:]))
    return printed(" ".join(arguments) + "\n")


def cat(android: Android, arguments: list[str], stdin: bytes) -> Result:
    if not arguments:
        return printed(stdin)
    try:
        return printed(b"".join(android.files.read(path) for path in arguments))
    except FileError as error:
        return failed(f"cat: {error}")


def ls(android: Android, arguments: list[str], stdin: bytes) -> Result:
    _, paths = _options(arguments)
    lines: list[str] = []
    for path in paths or ["/"]:
        try:
            lines += [path] if android.files.is_file(path) else android.files.names(path)
        except FileError as error:
            return failed(f"ls: {error}")
    return printed("".join(f"{line}\n" for line in lines))


def rm(android: Android, arguments: list[str], stdin: bytes) -> Result:
    letters, paths = _options(arguments)
    for path in paths:
        try:
            android.files.remove(path, recursive=bool(letters & set("rR")))
        except FileError as error:
            if "f" not in letters or "No such file" not in str(error):
                return failed(f"rm: {error}")
    return Result()


def mkdir(android: Android, arguments: list[str], stdin: bytes) -> Result:
    _, paths = _options(arguments)
    try:
        for path in paths:
            android.files.make_directories(path)
    except FileError as error:
        return failed(f"mkdir: {error}")
    return Result()


def grep(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """Print matching lines. Patterns have Python's syntax, which is enough for searches in dumps."""
    letters, operands = _options(arguments)
    if not operands:
        return failed("grep: missing pattern", 2)
    pattern = re.escape(operands[0]) if "F" in letters else operands[0]
    try:
        wanted = re.compile(pattern.encode(), re.IGNORECASE if "i" in letters else 0)
        text = b"".join(android.files.read(path) for path in operands[1:]) if operands[1:] else stdin
    except (re.error, FileError) as error:
        return failed(f"grep: {error}", 2)
    lines = [line for line in text.splitlines() if bool(wanted.search(line)) != ("v" in letters)]
    output = b"" if "q" in letters else b"".join(line + b"\n" for line in lines)
    return printed(output, 0 if lines else 1)


def date(android: Android, arguments: list[str], stdin: bytes) -> Result:
    form = arguments[0][1:] if arguments and arguments[0].startswith("+") else "%a %b %e %H:%M:%S UTC %Y"
    return printed(time.strftime(form.replace("%s", str(int(time.time()))), time.gmtime()) + "\n")


def whoami(android: Android, arguments: list[str], stdin: bytes) -> Result:
    return printed("shell\n")


def true(android: Android, arguments: list[str], stdin: bytes) -> Result:
    return Result()


def false(android: Android, arguments: list[str], stdin: bytes) -> Result:
    return Result(status=1)
