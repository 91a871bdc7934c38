"""A simulated phone that answers some commands by a script, for behaviour that the simulator lacks."""

import functools
from collections.abc import Callable, Mapping

from mobile_r1_jax.phones.simulator.android.commands import COMMANDS
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android

Answer = str | Result | Callable[[str], "str | Result | None"]
"""The output, or a function of the command line that returns it; None: the simulator answers."""

SECURITY = "java.lang.SecurityException: Shell does not have permission to access user 150"


class ScriptedAndroid:
    """Replaces commands of a phone. `answers` maps prefixes of command lines to answers; the longest match counts.

    lines: every command that was run, oldest first.
    """

    def __init__(self, android: Android, answers: Mapping[str, Answer]) -> None:
        self.android, self.answers, self.lines = android, dict(answers), []
        scripted = {line.split()[0] for line in answers}
        names = {*COMMANDS, *scripted}
        android.tools = {name: tool for name, tool in android.tools.items() if name not in scripted}
        android.commands = {name: functools.partial(self._answer, name) for name in names}

    def ran(self, begin: str) -> list[str]:
        """Return the commands with this prefix."""
        return [line for line in self.lines if line.startswith(begin)]

    def _answer(self, name: str, android: Android, arguments: list[str], stdin: bytes) -> Result:
        line = " ".join([name, *arguments])
        self.lines.append(line)
        begins = [begin for begin in self.answers if line.startswith(begin)]
        if begins:
            answer = self.answers[max(begins, key=len)]
            answer = answer(line) if callable(answer) else answer
            if answer is not None:
                return answer if isinstance(answer, Result) else printed(answer)
        handler = COMMANDS.get(name)
        return handler(android, arguments, stdin) if handler else failed(f"/system/bin/sh: {name}: not found", 127)
