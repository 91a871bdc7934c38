"""Redirections: they connect the outputs and the standard input of a shell to files and here-documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobile_r1_jax.phones.simulator.android.files import FileError, Files
from mobile_r1_jax.phones.simulator.android.shell import expansion
from mobile_r1_jax.phones.simulator.android.shell.streams import Input, Write
from mobile_r1_jax.phones.simulator.android.shell.syntax import Redirection

if TYPE_CHECKING:
    from mobile_r1_jax.phones.simulator.android.shell.interpreter import Shell


class RedirectionFault(Exception):
    """A file that cannot be opened, in mksh's words."""


async def connect(shell: Shell, redirections: tuple[Redirection, ...]) -> None:
    """Apply the redirections, from left to right. The caller restores `stdin` and `outputs`."""
    for redirection in redirections:
        operator, descriptor = redirection.operator, redirection.descriptor
        if operator in ("<<", "<<-"):
            assert redirection.body is not None
            shell.stdin = _here(await expansion.text(shell, redirection.body))
            continue
        target = await expansion.text(shell, redirection.target)
        if operator == "<<<":
            shell.stdin = _here(target + "\n")
        elif operator in ("<", "<>"):
            shell.stdin = _opened(shell.files, target)
        elif operator in (">&", "<&"):
            _duplicate(shell, descriptor, target)
        else:
            write = _created(shell.files, target, append=operator == ">>")
            shell.outputs = shell.outputs | ({1: write, 2: write} if operator == "&>" else {descriptor: write})


def _here(text: str) -> Input:
    return Input(text.encode(errors="surrogateescape"))


def _opened(files: Files, path: str) -> Input:
    try:
        return Input(files.read(path))
    except FileError as error:
        raise RedirectionFault(f"can't open {error}") from error


def _created(files: Files, path: str, *, append: bool) -> Write:
    try:
        files.write(path, b"", append=append)
    except FileError as error:
        raise RedirectionFault(f"can't create {error}") from error
    return lambda data: files.write(path, data, append=True)


def _duplicate(shell: Shell, descriptor: int, target: str) -> None:
    if target == "-":
        shell.outputs = shell.outputs | {descriptor: lambda data: None}
    elif target.isdigit() and int(target) in shell.outputs:
        shell.outputs = shell.outputs | {descriptor: shell.outputs[int(target)]}
    elif target != "0" or descriptor != 0:
        raise RedirectionFault(f">&{target} : bad file descriptor")
