"""The state of a shell: variables, options, input and outputs."""

from __future__ import annotations

import copy
import random
from typing import NoReturn, Self

from mobile_r1_jax.phones.simulator.android.files import Files
from mobile_r1_jax.phones.simulator.android.shell.control import Aborted
from mobile_r1_jax.phones.simulator.android.shell.streams import Input, Session, Write
from mobile_r1_jax.phones.simulator.android.shell.syntax import Command

NAME = "/system/bin/sh"
_DEEPEST = 20  # nested functions, substitutions and subshells
_LONGEST_VALUE = 1 << 24  # characters of a variable
_ENVIRONMENT = {
    "ANDROID_DATA": "/data",
    "ANDROID_ROOT": "/system",
    "ANDROID_STORAGE": "/storage",
    "EXTERNAL_STORAGE": "/sdcard",
    "HOME": "/",
    "HOSTNAME": "simulated",
    "LOGNAME": "shell",
    "PATH": "/system/bin",
    "PWD": "/",
    "SHELL": "/bin/sh",
    "TERM": "dumb",
    "TMPDIR": "/data/local/tmp",
    "USER": "shell",
}


class State:
    """One shell: its variables, its working directory, its input and outputs. A subshell is a copy.

    `exported` holds the names of the variables that programs see. `status` is $?, `substituted` the exit status of the
    last command substitution. `outputs` maps a descriptor to its writer. `frames` holds, for each running function, the
    values that its local variables hide.
    """

    def __init__(self, session: Session, stdin: Input, out: Write, error: Write) -> None:
        self.session, self.stdin = session, stdin
        self.outputs: dict[int, Write] = {1: out, 2: error}
        self.variables: dict[str, str] = dict(_ENVIRONMENT)
        self.exported: set[str] = set(_ENVIRONMENT)
        self.read_only: set[str] = set()
        self.functions: dict[str, Command] = {}
        self.frames: list[dict[str, str | None]] = []
        self.positional: tuple[str, ...] = ()
        self.options: set[str] = set()  # a, e, f, u, x
        self.name = NAME
        self.place = ""  # file and line of the running command, for messages
        self.directory = "/"
        self.status = self.substituted = 0
        self.exit_trap = ""
        self.loops = 0
        self.depth = 0
        self.tested = 0  # levels of if, while, &&, || and !, in which a failure does not end the shell

    def fork(self) -> Self:
        """Return a subshell."""
        child = copy.copy(self)
        for name in ("variables", "exported", "read_only", "functions", "options"):
            setattr(child, name, getattr(self, name).copy())
        child.frames = [frame.copy() for frame in self.frames]
        child.exit_trap = ""
        child.deeper()
        return child

    def deeper(self) -> None:
        """Count one level of nesting. Too many end the shell."""
        self.depth += 1
        if self.depth > _DEEPEST:
            self.abort("too many nested commands")

    @property
    def files(self) -> Files:
        """The files, seen from the working directory."""
        return self.session.host.files.at(self.directory)

    def complain(self, message: str) -> None:
        self.outputs[2](f"{self.name}: {self.place}{message}\n".encode(errors="surrogateescape"))

    def abort(self, message: str, status: int = 1) -> NoReturn:
        """Print an error message and end the shell. An interactive one continues with the next line."""
        self.complain(message)
        raise Aborted(status)

    def parameter(self, name: str) -> str | None:
        """Return the value of a variable or a special parameter; None if it is unset."""
        if name.isdigit():
            arguments = (self.name, *self.positional)
            return arguments[int(name)] if int(name) < len(arguments) else None
        special = {
            "?": lambda: str(self.status),
            "#": lambda: str(len(self.positional)),
            "@": lambda: " ".join(self.positional),
            "*": lambda: self.variables.get("IFS", " ")[:1].join(self.positional),
            "$": lambda: "2345",
            "!": lambda: str(max(self.session.jobs, default="")),
            "-": lambda: "".join(sorted(self.options)),
            "RANDOM": lambda: str(random.randrange(1 << 15)),
        }.get(name)
        return special() if special else self.variables.get(name)

    def assign(self, name: str, value: str) -> None:
        """Set a variable. A read-only one ends the shell."""
        if name in self.read_only:
            self.abort(f"read-only: {name}", 2)
        if len(value) > _LONGEST_VALUE:
            self.abort("can't allocate memory")
        self.variables[name] = value
        if "a" in self.options:
            self.exported.add(name)

    def restore(self, values: dict[str, str | None]) -> None:
        """Set variables to the values that they had before; None unsets one."""
        for name, value in values.items():
            if value is None:
                self.variables.pop(name, None)
            else:
                self.variables[name] = value
