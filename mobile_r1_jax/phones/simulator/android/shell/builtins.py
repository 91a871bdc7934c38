"""mksh's builtins."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

from mobile_r1_jax.phones.simulator.android.files import FileError
from mobile_r1_jax.phones.simulator.android.shell.arithmetic import ArithmeticFault, evaluate
from mobile_r1_jax.phones.simulator.android.shell.conditions import test
from mobile_r1_jax.phones.simulator.android.shell.control import BreakLoop, ExitShell, Returned
from mobile_r1_jax.phones.simulator.android.shell.echo import echo, print_, printf
from mobile_r1_jax.phones.simulator.android.shell.streams import Process, Program

_RESERVED = frozenset(("if", "then", "else", "elif", "fi", "for", "in", "do", "done", "while", "until", "case", "esac",
                       "function", "{", "}", "[[", "]]", "!", "time"))  # fmt: skip
_OPTIONS = {"allexport": "a", "errexit": "e", "noglob": "f", "nounset": "u", "xtrace": "x"}
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def _fail(process: Process, message: str, status: int = 1) -> int:
    process.shell.complain(f"{process.name}: {message}")
    return status


async def nothing(process: Process) -> int:
    return 0


async def false(process: Process) -> int:
    return 1


async def cd(process: Process) -> int:
    shell, arguments = process.shell, [word for word in process.arguments if word not in ("-L", "-P", "--")]
    if len(arguments) > 1:
        return _fail(process, "too many arguments" if len(arguments) > 2 else f"bad substitution: {arguments[0]}", 2)
    target = arguments[0] if arguments else shell.variables.get("HOME", "/")
    if target == "-":
        target = shell.variables.get("OLDPWD", "")
        if not target:
            return _fail(process, "no OLDPWD", 2)
        process.print(f"{target}\n")
    status = shell.files.status(target)
    if not shell.files.is_directory(target):
        return _fail(process, f"{target}: {'Not a directory' if status.mode else 'No such file or directory'}", 2)
    shell.variables["OLDPWD"] = shell.directory
    shell.directory = shell.variables["PWD"] = shell.files.joined(target)
    return 0


async def pwd(process: Process) -> int:
    if any(not word.startswith("-") for word in process.arguments):
        return _fail(process, "too many arguments")
    process.print(f"{process.directory}\n")
    return 0


def _status(process: Process) -> int:
    """Return the exit status that `exit` or `return` names; the default is that of the last command."""
    if not process.arguments:
        return process.shell.status
    try:
        return int(process.arguments[0])
    except ValueError:
        process.shell.complain(f"{process.name}: bad number: {process.arguments[0]}")
        return 1


async def exit_(process: Process) -> int:
    raise ExitShell(_status(process))


async def return_(process: Process) -> int:
    raise Returned(_status(process))


async def break_(process: Process) -> int:
    """`break [N]` and `continue [N]`."""
    word = process.arguments[0] if process.arguments else "1"
    if not word.isdigit() or word == "0":
        process.shell.abort(f"{process.name}: bad number: {word}")
    loops = process.shell.loops
    if loops == 0:
        process.shell.complain(f"{process.name}: can't {process.name}")
        return 0
    raise BreakLoop(min(int(word), loops), goes_on=process.name == "continue")


async def export(process: Process) -> int:
    """`export` and `readonly`: `NAME[=VALUE] …`, or a list with -p or without arguments."""
    shell = process.shell
    marked = shell.exported if process.name == "export" else shell.read_only
    words = [word for word in process.arguments if word != "-p"]
    if not words:
        listed = (name if "-p" not in process.arguments else f"{process.name} {name}" for name in sorted(marked))
        process.print("".join(f"{name}={shell.variables.get(name.split()[-1], '')}\n" for name in listed))
    for word in words:
        name, assigned, value = word.partition("=")
        if not _NAME.fullmatch(name):
            shell.abort(f"{process.name}: {word}: not an identifier")
        if assigned:
            shell.assign(name, value)
        marked.add(name)
    return 0


async def local(process: Process) -> int:
    """`local` and `typeset`: variables that a function hides; outside of functions, plain ones."""
    shell = process.shell
    letters = "".join(word[1:] for word in process.arguments if word.startswith("-"))
    for word in process.arguments:
        name, assigned, value = word.partition("=")
        if word.startswith("-"):
            continue
        if not _NAME.fullmatch(name):
            shell.abort(f"{process.name}: {word}: not an identifier")
        if shell.frames:
            shell.frames[-1].setdefault(name, shell.variables.get(name))
        if assigned:
            shell.assign(name, str(evaluate(value, shell.variables)) if "i" in letters else value)
        shell.exported |= {name} if "x" in letters else set()
        shell.read_only |= {name} if "r" in letters else set()
    return 0


async def unset(process: Process) -> int:
    shell = process.shell
    words = list(process.arguments)
    functions = words[:1] == ["-f"]
    for name in words[1:] if words[:1] in (["-f"], ["-v"]) else words:
        if name in shell.read_only:
            shell.abort(f"read-only: {name}")
        if functions:
            shell.functions.pop(name, None)
        else:
            shell.variables.pop(name, None)
            shell.exported.discard(name)
    return 0


async def set_(process: Process) -> int:
    """`set [-aefux] [+aefux] [-o NAME] [--] [ARGUMENT …]`; without arguments, a list of the variables."""
    shell, words = process.shell, list(process.arguments)
    if not words:
        process.print("".join(f"{name}={value}\n" for name, value in sorted(shell.variables.items())))
    while words and words[0][:1] in ("-", "+") and len(words[0]) > 1:
        word = words.pop(0)
        if word == "--":
            shell.positional = tuple(words)
            return 0
        letters = word[1:]
        if letters == "o" and words:
            letters = _OPTIONS.get(words.pop(0), "?")
        for letter in letters:
            if letter not in _OPTIONS.values():
                shell.abort(f"set: {word[0]}{letter}: unknown option")
        shell.options = shell.options | set(letters) if word[0] == "-" else shell.options - set(letters)
    if words:
        shell.positional = tuple(words)
    return 0


async def shift(process: Process) -> int:
    count = int(process.arguments[0]) if process.arguments and process.arguments[0].isdigit() else 1
    if count > len(process.shell.positional):
        process.shell.abort("shift: nothing to shift")
    process.shell.positional = process.shell.positional[count:]
    return 0


async def read(process: Process) -> int:
    """`read [-r] [NAME …]`: a line of the standard input, split into words; the last name takes the rest."""
    shell, words = process.shell, list(process.arguments)
    raw = words[:1] == ["-r"]
    names = (words[1:] if raw else words) or ["REPLY"]
    for name in names:
        if not _NAME.fullmatch(name):
            return _fail(process, f"{name}: unknown option" if name[:1] == "-" else f"read-only: {name}", 2)
    await shell.session.flush()
    line = await process.stdin.line()
    while not raw and line.endswith(b"\\\n"):
        line = line[:-2] + await process.stdin.line()
    text = line.rstrip(b"\n").decode(errors="surrogateescape")
    text = text if raw else re.sub(r"\\(.)", r"\1", text)
    separators = shell.variables.get("IFS", " \t\n")
    rest = text.strip("".join(char for char in separators if char.isspace()))
    for name in names[:-1]:
        word, _, rest = _cut(rest, separators)
        shell.assign(name, word)
    shell.assign(names[-1], rest)
    return 0 if line.endswith(b"\n") else 1


def _cut(text: str, separators: str) -> tuple[str, str, str]:
    match = re.search(f"[{re.escape(separators)}]", text) if separators else None
    if match is None:
        return text, "", ""
    white = "".join(char for char in separators if char.isspace())
    return text[: match.start()], match[0], text[match.end() :].lstrip(white)


async def eval_(process: Process) -> int:
    return await process.shell.nested(" ".join(process.arguments)) if process.arguments else 0


async def dot(process: Process) -> int:
    """`. FILE [ARGUMENT …]`: runs a file in this shell."""
    shell = process.shell
    if not process.arguments:
        return _fail(process, "missing argument")
    path, *arguments = process.arguments
    try:
        text = shell.files.read(path).decode(errors="surrogateescape")
    except FileError as error:
        shell.abort(f"{process.name}: {error}")
    before = shell.positional
    shell.positional = tuple(arguments) if arguments else before
    try:
        return await shell.nested(text)
    except Returned as returned:
        return returned.status
    finally:
        shell.positional = before


async def type_(process: Process) -> int:
    """`type NAME …` and `whence -v`: says what each name is."""
    shell, status = process.shell, 0
    for name in process.arguments:
        if name in _RESERVED:
            process.print(f"{name} is a reserved word\n")
        elif name in shell.functions:
            process.print(f"{name} is a function\n")
        elif name in BUILTINS:
            process.print(f"{name} is a shell builtin\n")
        elif shell.session.host.program(name):
            process.print(f"{name} is a tracked alias for /system/bin/{name}\n")
        else:
            process.print(f"{name} not found\n")
            status = 1
    return status


async def command(process: Process) -> int:
    """`command [-v|-V] NAME …` looks a name up; without an option, runs it without functions."""
    words = process.arguments
    if words[:1] == ["-V"]:
        return await type_(Process(process.shell, "type", words[1:], process.stdin, process.out, process.error))
    if words[:1] != ["-v"]:
        return await process.shell.invoke(words, functions=False) if words else 0
    for name in words[1:]:
        if name in _RESERVED or name in process.shell.functions or name in BUILTINS:
            process.print(f"{name}\n")
        elif process.shell.session.host.program(name):
            process.print(f"/system/bin/{name.rpartition('/')[2]}\n")
        else:
            return 1
    return 0


async def exec_(process: Process) -> int:
    if not process.arguments:
        return 0
    raise ExitShell(await process.shell.invoke(process.arguments, functions=False))


async def let(process: Process) -> int:
    try:
        values = [evaluate(word, process.shell.variables) for word in process.arguments]
    except ArithmeticFault as fault:
        return _fail(process, str(fault))
    return int(not values or values[-1] == 0)


async def wait(process: Process) -> int:
    """`wait [NUMBER …]`: waits for background commands."""
    session, status = process.shell.session, 0
    numbers = [int(word) if word.isdigit() else -1 for word in process.arguments]
    await session.flush()
    for number in numbers or list(session.jobs):
        task = session.jobs.get(number)
        if task is None:
            status = 127
            continue
        await asyncio.wait([task])
        status = 143 if task.cancelled() else task.result()
    return status if numbers else 0


async def kill(process: Process) -> int:
    """`kill [-SIGNAL] NUMBER …` ends background commands of this shell; nothing else can be killed."""
    shell, words = process.shell, list(process.arguments)
    if words[:1] == ["-l"]:
        process.print("HUP INT QUIT KILL TERM\n")
        return 0
    if words and re.fullmatch(r"-[A-Z0-9]+", words[0]):
        words.pop(0)
    status = int(not words)
    for word in words:
        task = shell.session.jobs.get(int(word)) if word.isdigit() else None
        if not word.isdigit():
            status = _fail(process, f"{word}: arguments must be jobs or process IDs")
        elif task is None or task.done():
            status = _fail(process, f"{word}: No such process")
        else:
            task.cancel()
    return status


async def trap(process: Process) -> int:
    """`trap COMMAND EXIT`; other signals never arrive."""
    words = [word for word in process.arguments if word != "--"]
    if len(words) > 1 and ("EXIT" in words[1:] or "0" in words[1:]):
        process.shell.exit_trap = "" if words[0] == "-" else words[0]
    return 0


async def umask(process: Process) -> int:
    if not process.arguments:
        process.print("077\n")
    return 0


BUILTINS: Mapping[str, Program] = {
    ".": dot,
    ":": nothing,
    "[": test,
    "break": break_,
    "cd": cd,
    "command": command,
    "continue": break_,
    "echo": echo,
    "eval": eval_,
    "exec": exec_,
    "exit": exit_,
    "export": export,
    "false": false,
    "kill": kill,
    "let": let,
    "local": local,
    "print": print_,
    "printf": printf,
    "pwd": pwd,
    "read": read,
    "readonly": export,
    "return": return_,
    "set": set_,
    "shift": shift,
    "source": dot,
    "test": test,
    "trap": trap,
    "true": nothing,
    "type": type_,
    "typeset": local,
    "umask": umask,
    "unset": unset,
    "wait": wait,
}
