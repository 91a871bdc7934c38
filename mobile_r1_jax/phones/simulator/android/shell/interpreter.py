"""The interpreter of the syntax tree."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from mobile_r1_jax.phones.simulator.android.files import FileError
from mobile_r1_jax.phones.simulator.android.shell import expansion, patterns
from mobile_r1_jax.phones.simulator.android.shell.builtins import BUILTINS
from mobile_r1_jax.phones.simulator.android.shell.conditions import ConditionFault, compound
from mobile_r1_jax.phones.simulator.android.shell.control import BreakLoop, ExitShell, Returned
from mobile_r1_jax.phones.simulator.android.shell.parser import parse
from mobile_r1_jax.phones.simulator.android.shell.redirections import RedirectionFault, connect
from mobile_r1_jax.phones.simulator.android.shell.state import State
from mobile_r1_jax.phones.simulator.android.shell.streams import Input, Killed, Process
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
    ShellSyntaxError,
    Simple,
    Test,
)

_NOT_EXECUTABLE, _NOT_FOUND, _KILLED = 126, 127, 137
_FIRST_JOB = 3001  # process id


class Shell(State):
    """One shell. A subshell is a copy."""

    async def run(self, line: str) -> int:
        """Run a command line and return its exit status. A syntax error prints mksh's message, with status 1."""
        return await self.finished(self.evaluate(line))

    async def evaluate(self, line: str) -> int:
        """Run a command line as a part of this shell. Raises ExitShell."""
        return await self.list(self.parsed(line))

    async def nested(self, line: str) -> int:
        """Run a command line from within another one."""
        self.deeper()
        try:
            return await self.evaluate(line)
        finally:
            self.depth -= 1

    def parsed(self, line: str) -> List:
        """Return the syntax tree of a command line. A syntax error ends the shell."""
        try:
            return parse(line)
        except ShellSyntaxError as error:
            self.abort(str(error))

    async def finished(self, running: Coroutine[Any, Any, int]) -> int:
        """Run this shell to its end, with its EXIT trap, and return its exit status."""
        try:
            self.status = await running
        except (ExitShell, Returned) as end:
            self.status = end.status
        except BreakLoop:
            self.status = 0
        except Killed:
            self.outputs[2](b"Killed \n")
            self.status = _KILLED
        except RecursionError:
            self.complain("too many nested commands")
            self.status = 1
        if self.exit_trap:
            trap, self.exit_trap = self.exit_trap, ""
            status = self.status
            await self.run(trap)
            self.status = status
        return self.status

    async def substitute(self, body: List) -> str:
        """Return the output of commands, without its last newlines. `substituted` becomes their exit status."""
        child, output = self.fork(), bytearray()
        child.outputs = self.outputs | {1: output.extend}
        self.substituted = await child.finished(child.list(body))
        return output.replace(b"\0", b"").decode(errors="surrogateescape").rstrip("\n")

    async def list(self, body: List) -> int:
        for item in body:
            if item.background:
                await self._in_background(item)
            elif item.simple is not None and "e" not in self.options:
                self.status = await self.command(item.simple)
            else:
                self.status = await self._and_or(item)
        return self.status

    async def _in_background(self, item: AndOr) -> None:
        child = self.fork()
        child.stdin = Input()
        running = asyncio.get_running_loop().create_task(child.finished(child._and_or(item)))
        self.session.jobs[_FIRST_JOB + len(self.session.jobs)] = running
        self.session.host.background.add(running)
        running.add_done_callback(self.session.host.background.discard)
        self.status = 0
        await asyncio.sleep(0)  # it starts first

    async def _and_or(self, item: AndOr) -> int:
        status = self.status
        for position, (connector, pipeline) in enumerate(item.steps):
            if (connector == "&&" and status != 0) or (connector == "||" and status == 0):
                continue
            last = position == len(item.steps) - 1
            self.tested += not last
            try:
                status = self.status = await self._pipeline(pipeline)
            finally:
                self.tested -= not last
            if status and last and "e" in self.options and not self.tested and not pipeline.negated:
                raise ExitShell(status)
        return status

    async def _pipeline(self, pipeline: Pipeline) -> int:
        self.tested += pipeline.negated
        try:
            if len(pipeline.commands) == 1:
                status = await self.command(pipeline.commands[0])
            else:
                status = await self._piped(pipeline.commands)
        finally:
            self.tested -= pipeline.negated
        return int(not status) if pipeline.negated else status

    async def _piped(self, commands: tuple[Command, ...]) -> int:
        """Run each command to its end, then the next one with its output as standard input."""
        stdin, status = self.stdin, 0
        for position, command in enumerate(commands):
            child, output = self.fork(), bytearray()
            child.stdin = stdin
            if position < len(commands) - 1:
                child.outputs = self.outputs | {1: output.extend}
            status = await child.finished(child.command(command))
            stdin = Input(bytes(output))
        return status

    async def command(self, node: Command) -> int:
        """Run one command. An error of its redirections or words prints mksh's message, with status 1."""
        if self.session.due():
            await self.session.breathe()
        try:
            return await _RUNNERS[type(node)](self, node)
        except (RedirectionFault, FileError) as fault:
            self.complain(str(fault))
            return 1
        except expansion.ExpansionFault as fault:
            self.abort(str(fault))

    async def _simple(self, node: Simple) -> int:
        self.substituted = 0
        words = list(node.literals) if node.literals is not None else await expansion.arguments(self, node.words)
        if not node.redirections and not node.assignments:
            return await self.invoke(words) if words else self.substituted
        stdin, outputs = self.stdin, self.outputs
        before = {item.name: self.variables.get(item.name) for item in node.assignments} if words else {}
        exported = self.exported
        try:
            await connect(self, node.redirections)
            self.substituted = 0
            for assignment in node.assignments:
                await self._assign(assignment)
            self.exported = exported | set(before)
            if words == ["exec"]:
                stdin, outputs = self.stdin, self.outputs
            return await self.invoke(words) if words else self.substituted
        finally:
            self.stdin, self.outputs, self.exported = stdin, outputs, exported
            self.restore(before)

    async def _assign(self, item: Assignment) -> None:
        value = await expansion.text(self, item.value)
        self.assign(item.name, self.variables.get(item.name, "") + value if item.append else value)

    async def invoke(self, words: list[str], *, functions: bool = True) -> int:
        """Run a function, a builtin or a program with its arguments, and return its exit status."""
        name, *arguments = words
        if "x" in self.options:
            self.outputs[2](("+ " + " ".join(words) + "\n").encode(errors="surrogateescape"))
        if functions and name in self.functions:
            return await self._call(self.functions[name], arguments)
        program = BUILTINS.get(name) or self.session.host.program(name)
        if program is None:
            return await self._file(name, arguments)
        return await program(
            Process(self, name.rpartition("/")[2], arguments, self.stdin, self.outputs[1], self.outputs[2])
        )

    async def _file(self, path: str, arguments: list[str]) -> int:
        """Run a script by its path."""
        if "/" in path:
            mode = self.files.status(path).mode
            if self.files.is_directory(path) or (mode and not mode & 0o111):
                reason = "Permission denied" if self.files.is_file(path) else "Is a directory"
                self.complain(f"{path}: can't execute: {reason}")
                return _NOT_EXECUTABLE
            if mode:
                return await self.script(path, arguments)
        self.complain(f"{path}: {self.session.host.not_found}")
        return _NOT_FOUND

    async def script(self, path: str, arguments: list[str]) -> int:
        """Run a file in a separate shell. Raises FileError."""
        text = self.files.read(path).decode(errors="surrogateescape")
        child = self.fork()
        child.variables = {name: self.variables[name] for name in self.exported if name in self.variables}
        child.functions, child.frames, child.options = {}, [], set()
        child.name, child.positional = path, tuple(arguments)
        return await child.run(text)

    async def _call(self, body: Command, arguments: list[str]) -> int:
        positional, loops = self.positional, self.loops
        self.positional, self.loops = tuple(arguments), 0
        self.frames.append({})
        self.deeper()
        try:
            return await self.command(body)
        except Returned as returned:
            return returned.status
        finally:
            self.depth -= 1
            self.restore(self.frames.pop())
            self.positional, self.loops = positional, loops

    async def _redirected(self, node: Redirected) -> int:
        stdin, outputs = self.stdin, self.outputs
        try:
            await connect(self, node.redirections)
            return await self.command(node.command)
        finally:
            self.stdin, self.outputs = stdin, outputs

    async def _group(self, node: Group) -> int:
        if not node.subshell:
            return await self.list(node.body)
        child = self.fork()
        return await child.finished(child.list(node.body))

    async def _test_list(self, body: List) -> bool:
        self.tested += 1
        try:
            return await self.list(body) == 0
        finally:
            self.tested -= 1

    async def _if(self, node: If) -> int:
        for condition, body in node.branches:
            if await self._test_list(condition):
                return await self.list(body)
        self.status = 0
        return await self.list(node.otherwise)

    async def _loop(self, node: Loop) -> int:
        async def goes_on() -> bool:
            if self.session.due():
                await self.session.breathe()
            return await self._test_list(node.condition) != node.until

        status = 0
        self.loops += 1
        try:
            while await goes_on():
                self.status, left = await self._body(node.body)
                status = self.status
                if left:
                    break
        finally:
            self.loops -= 1
        return status

    async def _body(self, body: List) -> tuple[int, bool]:
        """Run the body of a loop once. Return its exit status, and whether the loop ends."""
        try:
            return await self.list(body), False
        except BreakLoop as leaving:
            if leaving.levels > 1:
                raise BreakLoop(leaving.levels - 1, goes_on=leaving.goes_on) from None
            return 0, not leaving.goes_on

    async def _for(self, node: For) -> int:
        values = list(self.positional) if node.words is None else await expansion.arguments(self, node.words)
        status = 0
        self.loops += 1
        try:
            for value in values:
                self.assign(node.name, value)
                self.status, left = await self._body(node.body)
                status = self.status
                if left:
                    break
        finally:
            self.loops -= 1
        return status

    async def _case(self, node: Case) -> int:
        value = await expansion.text(self, node.word)
        for choices, body in node.branches:
            for choice in choices:
                if patterns.matches(await expansion.pattern(self, choice), value):
                    self.status = 0
                    return await self.list(body)
        return 0

    async def _function(self, node: Function) -> int:
        self.functions[node.name] = node.body
        return 0

    async def _condition(self, node: Test) -> int:
        try:
            return int(not await compound(self, node.tokens))
        except ConditionFault as fault:
            self.abort(f"syntax error: {fault}", 2)

    async def _calculation(self, node: Calculation) -> int:
        return int(await expansion.calculate(self, node.expression) == 0)


_RUNNERS: dict[type[Any], Callable[[Shell, Any], Coroutine[Any, Any, int]]] = {
    Simple: Shell._simple,
    Group: Shell._group,
    If: Shell._if,
    Loop: Shell._loop,
    For: Shell._for,
    Case: Shell._case,
    Function: Shell._function,
    Test: Shell._condition,
    Calculation: Shell._calculation,
    Redirected: Shell._redirected,
}
