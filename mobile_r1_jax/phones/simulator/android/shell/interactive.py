"""A shell that takes its commands from its standard input, line by line."""

from __future__ import annotations

import asyncio
from typing import Protocol

from mobile_r1_jax.phones.simulator.android.shell.control import Aborted, ExitShell, Returned
from mobile_r1_jax.phones.simulator.android.shell.interpreter import Shell
from mobile_r1_jax.phones.simulator.android.shell.parser import parse
from mobile_r1_jax.phones.simulator.android.shell.streams import Killed
from mobile_r1_jax.phones.simulator.android.shell.syntax import List, ShellSyntaxError

_INTERRUPTED, _KILLED = 130, 137


class Keyboard(Protocol):
    """What a person at a terminal interrupts with Ctrl-C: a running command, or the line that is being typed."""

    running: asyncio.Task[int] | None
    interrupted: bool


async def run_lines(shell: Shell, keyboard: Keyboard | None = None) -> int:
    """Run the lines of the standard input as they arrive, up to `exit` or the end. Return the exit status.

    With a keyboard the shell prints prompts, and an error does not end it.
    """
    source, number = "", 0
    while True:
        if keyboard is not None:
            host, directory = shell.variables.get("HOSTNAME", ""), shell.directory
            shell.outputs[2](b"> " if source else f"{host}:{directory} $ ".encode(errors="surrogateescape"))
        await shell.session.flush()
        line = (await shell.stdin.line()).decode(errors="surrogateescape")
        if keyboard is not None and keyboard.interrupted:
            keyboard.interrupted, source, shell.status = False, "", _INTERRUPTED
            continue
        source += line
        shell.session.commands = 0
        number += 1
        if keyboard is None:
            shell.place = f"<stdin>[{number}]: "
        if line and _is_incomplete(source):
            continue
        try:
            tree = shell.parsed(source)
            shell.status = await (_interruptible(shell, tree, keyboard) if keyboard else shell.list(tree))
        except Aborted as end:
            shell.status = end.status
            if keyboard is None:
                return end.status
        except (ExitShell, Returned) as end:
            return end.status
        if not line:
            return shell.status
        source = ""


def _is_incomplete(source: str) -> bool:
    """Return whether more lines could complete `source`."""
    try:
        parse(source)
    except ShellSyntaxError as error:
        return error.incomplete
    return False


async def _interruptible(shell: Shell, body: List, keyboard: Keyboard) -> int:
    """Run commands that Ctrl-C ends."""
    keyboard.running = asyncio.get_running_loop().create_task(shell.list(body))
    try:
        return await asyncio.shield(keyboard.running)
    except Killed:
        shell.outputs[2](b"Killed \n")
        return _KILLED
    except asyncio.CancelledError:
        task = asyncio.current_task()
        keyboard.running.cancel()
        if task is not None and task.cancelling():
            raise
        return _INTERRUPTED
    finally:
        keyboard.running = None
