"""grep of toybox."""

import posixpath
import re
from dataclasses import dataclass

from mobile_r1_jax.phones.simulator.android.commands.toybox.expressions import BadExpression, compiled
from mobile_r1_jax.phones.simulator.android.commands.toybox.options import (
    Options,
    Source,
    UsageFault,
    parse,
    sources,
    tool,
)
from mobile_r1_jax.phones.simulator.android.files import Files
from mobile_r1_jax.phones.simulator.android.shell import Process
from mobile_r1_jax.phones.simulator.android.system import Android


@tool(failure=2)
async def grep(android: Android, process: Process) -> int:
    """`grep`, `egrep`, `fgrep`: 0 if a line was found, 1 if none was, 2 after an error."""
    options = parse(process, "A:B:C:EFHLabce:f:hilm:noqrRsvwx")
    patterns = list(options.values.get("e", []))
    for path in options.values.get("f", []):
        patterns += process.files.read(path).decode(errors="surrogateescape").splitlines()
    if not patterns and "f" not in options:
        if not options.operands:
            raise UsageFault("no REGEX")
        patterns = options.operands.pop(0).split("\n")
    recursive = bool(options.flags & {"r", "R"})
    paths = options.operands or (["."] if recursive else [])
    if recursive:
        paths = [inner for path in paths for inner in _files_below(process.files, path)]
    quiet = Process(process.shell, process.name, [], process.stdin, process.out, lambda data: None)
    read, complete = await sources(quiet if "s" in options else process, paths)
    search = _Search(process, options, _expression(process, options, patterns), _is_named(options, recursive))
    found = sum([search.in_source(source) for source in read])
    return 0 if found and (complete or "q" in options) else 1 if complete else 2


def _is_named(options: Options, recursive: bool) -> bool:
    """Return whether each line has the name of its file before it."""
    return "h" not in options and ("H" in options or recursive or len(options.operands) > 1)


def _files_below(files: Files, path: str) -> list[str]:
    if not files.is_directory(path):
        return [path]
    return [found for name in files.names(path) for found in _files_below(files, posixpath.join(path, name))]


def _expression(process: Process, options: Options, patterns: list[str]) -> list[re.Pattern[str]]:
    extended = "E" in options or process.name == "egrep"
    fixed = "F" in options or process.name == "fgrep"
    if not extended and not fixed:  # toybox's basic expressions have no alternatives
        patterns = [
            re.sub(r"\\(.)", lambda escape: "[|]" if escape[1] == "|" else escape[0], text) for text in patterns
        ]
    try:
        return [compiled(text, extended=extended, ignore_case="i" in options, fixed=fixed) for text in patterns]
    except BadExpression as fault:
        raise UsageFault(str(fault)) from fault


@dataclass
class _Search:
    process: Process
    options: Options
    patterns: list[re.Pattern[str]]
    named: bool

    def in_source(self, source: Source) -> bool:
        """Print what is found in one file. Return whether a line was found."""
        options, process = self.options, self.process
        most = options.number("m", process)
        lines = source.lines
        found = [number for number, line in enumerate(lines) if bool(self._matches(line)) != ("v" in options)][:most]
        name = "(standard input)" if source.name == "-" else source.name
        if "q" in options:
            return bool(found)
        if options.flags & {"l", "L"}:
            if bool(found) == ("l" in options):
                process.print(f"{name}\n")
        elif "c" in options:
            process.print((f"{name}:" if self.named else "") + f"{len(found)}\n")
        elif "o" in options:
            for number in found:
                for match in self._matches(lines[number]):
                    process.print(self._line(name, number, ":", match))
        else:
            self._print_lines(name, lines, found)
        return bool(found)

    def _matches(self, line: str) -> list[str]:
        """Return what the patterns match in a line, from left to right; [""] for an empty match."""
        spans = [
            match.span() for pattern in self.patterns for match in pattern.finditer(line) if self._whole(line, match)
        ]
        if not spans:
            return []
        return [line[begin:end] for begin, end in sorted(set(spans)) if end > begin] or [""]

    def _whole(self, line: str, match: re.Match[str]) -> bool:
        if "x" in self.options:
            return match.re.fullmatch(line) is not None
        if "w" not in self.options:
            return True
        before, after = line[match.start() - 1 : match.start()], line[match.end() : match.end() + 1]
        return not any(char.isalnum() or char == "_" for char in before + after)

    def _line(self, name: str, number: int, mark: str, text: str) -> str:
        prefix = f"{name}{mark}" if self.named else ""
        return prefix + (f"{number + 1}{mark}" if "n" in self.options else "") + text + "\n"

    def _print_lines(self, name: str, lines: list[str], found: list[int]) -> None:
        """Print the lines found, with the lines around them that -A, -B and -C ask for."""
        around = self.options.number("C", self.process) or 0
        after = self.options.number("A", self.process) or around
        before = self.options.number("B", self.process) or around
        hits, last = set(found), -1
        shown = sorted(
            {near for hit in found for near in range(max(hit - before, 0), min(hit + after + 1, len(lines)))}
        )
        for number in shown:
            if (after or before) and last >= 0 and number > last + 1:
                self.process.print("--\n")
            self.process.print(self._line(name, number, ":" if number in hits else "-", lines[number]))
            last = number
