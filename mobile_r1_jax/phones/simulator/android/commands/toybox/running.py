"""Commands that run other commands: sh, xargs, timeout, nohup, env, time, nice and toybox itself."""

import asyncio
import re
import shlex
import time as clock

from mobile_r1_jax.phones.simulator.android.commands.toybox.options import UsageFault, parse, tool, usage
from mobile_r1_jax.phones.simulator.android.shell import Process, Shell
from mobile_r1_jax.phones.simulator.android.shell.interactive import run_lines
from mobile_r1_jax.phones.simulator.android.system import Android


def _child(process: Process) -> Shell:
    """Return a new shell that is connected as the process is and sees its exported variables."""
    parent = process.shell
    child = parent.fork()
    child.stdin, child.outputs = process.stdin, parent.outputs | {1: process.out, 2: process.error}
    child.variables = {name: parent.variables[name] for name in parent.exported if name in parent.variables}
    child.functions, child.frames, child.options, child.positional = {}, [], set(), ()
    return child


@tool()
async def sh(android: Android, process: Process) -> int:
    """`sh [-aefux] [-c LINE [NAME [ARGUMENT …]] | FILE [ARGUMENT …]]`; without both, commands of the standard input."""
    words, child = list(process.arguments), _child(process)
    line = False
    while words and re.fullmatch(r"-[a-z]+|-", words[0]):
        letters = set(words.pop(0)[1:])
        if unknown := letters - set("aceflsux"):
            child.complain(f"-{min(unknown)}: unknown option")
            return 1
        line = line or "c" in letters
        child.options |= letters & set("aefux")
    if line:
        if not words:
            child.complain("-c: missing argument")
            return 1
        text, *words = words
        child.name, child.positional = (words[0] if words else child.name), tuple(words[1:])
        return await child.run(text)
    if not words:
        return await run_lines(child)
    path, *arguments = words
    if not child.files.is_file(path):
        child.complain(f"{path}: {'Is a directory' if child.files.is_directory(path) else 'No such file or directory'}")
        return 127
    return await child.script(path, arguments)


@tool()
async def xargs(android: Android, process: Process) -> int:
    """`xargs [-0] [-n COUNT] [-r] [-t] [COMMAND …]`."""
    options = parse(process, "0n:rt", stop=True)
    command = options.operands or ["echo"]
    most = options.number("n", process)
    await process.shell.session.flush()
    text = (await process.stdin.rest()).decode(errors="surrogateescape")
    items = [item for item in (text.split("\0") if "0" in options else text.split()) if item]
    if not items:
        calls = [] if "r" in options else [command]
    else:
        step = most or len(items)
        calls = [command + items[at : at + step] for at in range(0, len(items), step)]
    status = 0
    for call in calls:
        if "t" in options:
            process.error((shlex.join(call) + "\n").encode(errors="surrogateescape"))
        child = _child(process)
        ended = await child.finished(child.invoke(call))
        if ended in (126, 127):
            return ended
        status = 123 if ended else status
    return status


@tool(failure=125)
async def timeout(android: Android, process: Process) -> int:
    """`timeout [-k SECONDS] [-s SIGNAL] SECONDS COMMAND …`: 124 if the command took longer."""
    options = parse(process, "k:s:v", stop=True)
    if len(options.operands) < 2:
        raise usage(process, "Need 2 arguments")
    limit, *command = options.operands
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)([smhd]?)", limit)
    if match is None:
        raise UsageFault(f"Not a number '{limit}'")
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    child = _child(process)
    try:
        async with asyncio.timeout(seconds or None):
            return await child.finished(child.invoke(command))
    except TimeoutError:
        return 124


@tool(failure=125)
async def env(android: Android, process: Process) -> int:
    """`env [-i] [-u NAME] [NAME=VALUE …] [COMMAND …]`."""
    options = parse(process, "iu:", stop=True)
    child, words = _child(process), options.operands
    if "i" in options:
        child.variables = {}
    for name in options.values.get("u", []):
        child.variables.pop(name, None)
    while words and "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        child.variables[name] = value
        child.exported.add(name)
    if words:
        return await child.finished(child.invoke(words))
    process.print("".join(f"{name}={value}\n" for name, value in child.variables.items() if name in child.exported))
    return 0


@tool()
async def printenv(android: Android, process: Process) -> int:
    parent, status = process.shell, 0
    known = {name: parent.variables[name] for name in sorted(parent.exported) if name in parent.variables}
    if not process.arguments:
        process.print("".join(f"{name}={value}\n" for name, value in known.items()))
    for name in process.arguments:
        if name in known:
            process.print(f"{known[name]}\n")
        else:
            status = 1
    return status


@tool()
async def time(android: Android, process: Process) -> int:
    begin = clock.monotonic()
    child = _child(process)
    status = await child.finished(child.invoke(process.arguments)) if process.arguments else 0
    minutes, seconds = divmod(clock.monotonic() - begin, 60)
    process.error(f"    {minutes:.0f}m{seconds:05.2f}s real     0m00.00s user     0m00.00s system\n".encode())
    return status


@tool(failure=125)
async def nohup(android: Android, process: Process) -> int:
    """`nohup COMMAND …` and `nice COMMAND …`: the command, as it is."""
    options = parse(process, "n:" if process.name == "nice" else "", least=1, stop=True)
    child = _child(process)
    return await child.finished(child.invoke(options.operands))


@tool()
async def toybox(android: Android, process: Process) -> int:
    """`toybox COMMAND …`; without a command, their names."""
    names = sorted(set(android.tools) - {"logcat", "sh", "toybox"})
    if not process.arguments:
        process.print(" ".join(names) + "\n")
        return 0
    if process.arguments[0] not in names:
        return process.fail(f'Unknown command {process.arguments[0]} (see "toybox --help")', 127)
    child = _child(process)
    name, *arguments = process.arguments
    return await android.tools[name](
        android, Process(child, name, arguments, process.stdin, process.out, process.error)
    )
