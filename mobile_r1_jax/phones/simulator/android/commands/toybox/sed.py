"""sed of toybox: s, y, d, D, p, P, q, =, a, i, c, n, N, g, G, h, H, x, b, t, labels and blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mobile_r1_jax.phones.simulator.android.commands.toybox.expressions import BadExpression, compiled
from mobile_r1_jax.phones.simulator.android.commands.toybox.options import UsageFault, parse, sources, tool
from mobile_r1_jax.phones.simulator.android.shell import Process
from mobile_r1_jax.phones.simulator.android.system import Android

_MOST_JUMPS = 10_000  # of one cycle


@dataclass
class _Address:
    """A line number, a regular expression, or $ (number -1). `step`: every so many lines from `number` on."""

    number: int | None = None
    pattern: re.Pattern[str] | None = None
    step: int = 0
    offset: int | None = None  # +N after the first address


@dataclass
class _Instruction:
    letter: str
    addresses: list[_Address]
    negated: bool
    pattern: re.Pattern[str] | None = None
    text: str = ""
    flags: str = ""
    table: dict[str, str] = field(default_factory=dict)
    target: int = 0  # of b, t and {
    until: int | None = None  # while a range is open: its last line, -1 if an expression ends it


@tool()
async def sed(android: Android, process: Process) -> int:
    options = parse(process, "Ee:f:inrs")
    scripts = options.values.get("e", []) + [
        process.files.read(path).decode(errors="surrogateescape").removesuffix("\n")
        for path in options.values.get("f", [])
    ]
    if not scripts:
        if not options.operands:
            raise UsageFault("no pattern")
        scripts = [options.operands.pop(0)]
    program = _Script("\n".join(scripts), extended=bool(options.flags & {"E", "r"})).instructions()
    read, complete = await sources(process, options.operands)
    groups = [[source] for source in read] if options.flags & {"i", "s"} else [read]
    for group in groups:
        for instruction in program:
            instruction.until = None
        lines = [line for source in group for line in source.lines]
        output = _Run(program, lines, quiet="n" in options).output()
        ended = not group or group[-1].data.endswith(b"\n") or not group[-1].data
        output = output if ended else output.removesuffix("\n")
        if "i" in options and group and group[0].name != "-":
            process.files.write(group[0].name, output.encode(errors="surrogateescape"))
        else:
            process.print(output)
    return int(not complete)


class _Script:
    """A reader of sed's language."""

    def __init__(self, text: str, *, extended: bool) -> None:
        self._text, self._at, self._extended = text, 0, extended

    def instructions(self) -> list[_Instruction]:
        result: list[_Instruction] = []
        open_blocks: list[int] = []
        labels: dict[str, int] = {}
        while self._skip(" \t\n;") < len(self._text):
            begin = self._at
            if self._text[self._at] == "#":
                self._line()
                continue
            instruction = self._instruction()
            if instruction.letter == ":":
                labels[instruction.text] = len(result)
                continue
            if instruction.letter == "}":
                if not open_blocks:
                    raise self._bad(begin)
                result[open_blocks.pop()].target = len(result)
                continue
            if instruction.letter == "{":
                open_blocks.append(len(result))
            result.append(instruction)
        if open_blocks:
            raise UsageFault("no }")
        for instruction in result:
            if instruction.letter in "bt":
                if instruction.text and instruction.text not in labels:
                    raise UsageFault(f"no label '{instruction.text}'")
                instruction.target = labels.get(instruction.text, len(result))
        return result

    def _bad(self, at: int) -> UsageFault:
        return UsageFault(f"bad pattern '{self._text}'@{at + 1} ({self._text[at : at + 1]})")

    def _skip(self, chars: str) -> int:
        while self._at < len(self._text) and self._text[self._at] in chars:
            self._at += 1
        return self._at

    def _line(self) -> str:
        """Take the rest of the line."""
        line = self._text[self._at :].partition("\n")[0]
        self._at += len(line)
        return line

    def _word(self) -> str:
        match = re.compile(r"[ \t]*([^;}\n \t]*)").match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        return match[1]

    def _instruction(self) -> _Instruction:
        addresses = []
        if (first := self._address()) is not None:
            addresses.append(first)
            if self._text.startswith(",", self._skip(" \t")):
                self._at += 1
                self._skip(" \t")
                if (second := self._address()) is None:
                    raise self._bad(self._at)
                addresses.append(second)
        negated = self._text.startswith("!", self._skip(" \t"))
        self._at += negated
        at = self._skip(" \t")
        letter = self._text[at : at + 1]
        if not letter or letter not in "sydDpPq=aicnNgGhHxbt:{}":
            raise self._bad(at)
        self._at += 1
        result = _Instruction(letter, addresses, negated)
        if letter == "s":
            self._substitution(result)
        elif letter == "y":
            mark = self._text[self._at : self._at + 1]
            source, target = self._delimited(mark), self._delimited(mark, again=True)
            if len(source) != len(target):
                raise self._bad(at)
            result.table = dict(zip(source, target, strict=True))
        elif letter in "aic":
            result.text = self._appended()
        elif letter in "bt:":
            result.text = self._word()
        if letter not in "{}:aic" and self._text[self._skip(" \t") : self._at + 1] not in ("", ";", "\n", "}", "#"):
            raise self._bad(self._at)
        return result

    def _address(self) -> _Address | None:
        text, at = self._text, self._at
        if match := re.compile(r"(\d+)~(\d+)|(\+?)(\d+)|\$").match(text, at):
            self._at = match.end()
            if match[1]:
                return _Address(number=int(match[1]), step=int(match[2]))
            if match[4]:
                return _Address(offset=int(match[4])) if match[3] else _Address(number=int(match[4]))
            return _Address(number=-1)
        if not text.startswith(("/", "\\"), at):
            return None
        self._at += text[at] == "\\"
        return _Address(pattern=self._compiled(self._delimited(text[self._at : self._at + 1]), ""))

    def _compiled(self, expression: str, flags: str) -> re.Pattern[str]:
        try:
            return compiled(expression, extended=self._extended, ignore_case=bool(set(flags) & {"i", "I"}))
        except BadExpression as fault:
            raise UsageFault(str(fault)) from fault

    def _delimited(self, mark: str, *, again: bool = False) -> str:
        """Return the text between two marks. `again`: the first mark was taken already."""
        begin = self._at
        self._at += not again
        result, bracket = "", False
        while self._at < len(self._text):
            char = self._text[self._at]
            self._at += 1
            if char == "\\" and self._at < len(self._text):
                following = self._text[self._at]
                self._at += 1
                result += following if following == mark else "\n" if following == "n" else "\\" + following
                continue
            bracket = (char == "[" or bracket) and char != "]"
            if char == mark and not bracket:
                return result
            result += char
        raise self._bad(begin)

    def _substitution(self, result: _Instruction) -> None:
        mark = self._text[self._at : self._at + 1]
        expression = self._delimited(mark)
        result.text = self._delimited(mark, again=True)
        flags = re.compile(r"[gpiI\d]*").match(self._text, self._at)
        assert flags is not None
        result.flags = flags[0]
        self._at = flags.end()
        result.pattern = self._compiled(expression, result.flags)

    def _appended(self) -> str:
        self._skip(" \t")
        if self._text.startswith("\\", self._at):
            self._at += 1
            self._skip(" \t")
            self._at += self._text.startswith("\n", self._at)
        text = self._line()
        while text.endswith("\\") and self._at < len(self._text):
            self._at += 1
            text = text[:-1] + "\n" + self._line()
        return re.sub(r"\\(.)", r"\1", text)


class _Run:
    """One run of a script over lines."""

    def __init__(self, program: list[_Instruction], lines: list[str], *, quiet: bool) -> None:
        self._program, self._lines, self._quiet = program, lines, quiet
        self._number = 0  # of the last line read
        self._space = self._hold = ""
        self._out: list[str] = []
        self._after: list[str] = []

    def output(self) -> str:
        ended = False
        keep = False  # D starts again without reading a line
        while not ended and (keep or self._next()):
            ended, keep, shown = self._cycle()
            if shown and not self._quiet:
                self._out.append(self._space)
            self._out += self._after
            self._after.clear()
        return "".join(f"{line}\n" for line in self._out)

    def _next(self) -> bool:
        if self._number >= len(self._lines):
            return False
        self._space = self._lines[self._number]
        self._number += 1
        return True

    def _cycle(self) -> tuple[bool, bool, bool]:
        """Run the script once. Return whether it ends, whether the pattern space stays, whether it is printed."""
        at = jumps = 0
        replaced = False
        while at < len(self._program):
            step = self._program[at]
            at += 1
            if self._selected(step) == step.negated:
                at = step.target if step.letter == "{" else at
                continue
            if step.letter == "s":
                replaced = self._substitute(step) or replaced
            elif step.letter == "b" or (step.letter == "t" and replaced):
                at, replaced, jumps = step.target, False, jumps + 1
                if jumps > _MOST_JUMPS:
                    raise UsageFault("too many jumps")
            elif step.letter == "q":
                return True, False, True
            elif step.letter in "dc":
                if step.letter == "c" and (len(step.addresses) < 2 or step.until is None):
                    self._out.append(step.text)
                return False, False, False
            elif step.letter == "D":
                _, newline, rest = self._space.partition("\n")
                self._space = rest
                return False, bool(newline), False
            elif step.letter in "nN":
                if self._number >= len(self._lines):
                    return True, False, True
                self._read_more(step.letter)
            else:
                self._simple(step)
        return False, False, True

    def _read_more(self, letter: str) -> None:
        before = self._space
        if letter == "n" and not self._quiet:
            self._out.append(before)
        self._next()
        if letter == "N":
            self._space = before + "\n" + self._space

    def _simple(self, step: _Instruction) -> None:
        letter = step.letter
        if letter == "p":
            self._out.append(self._space)
        elif letter == "P":
            self._out.append(self._space.partition("\n")[0])
        elif letter == "=":
            self._out.append(str(self._number))
        elif letter == "i":
            self._out.append(step.text)
        elif letter == "a":
            self._after.append(step.text)
        elif letter == "y":
            self._space = "".join(step.table.get(char, char) for char in self._space)
        elif letter == "g":
            self._space = self._hold
        elif letter == "G":
            self._space += "\n" + self._hold
        elif letter == "h":
            self._hold = self._space
        elif letter == "H":
            self._hold += "\n" + self._space
        elif letter == "x":
            self._space, self._hold = self._hold, self._space

    def _substitute(self, step: _Instruction) -> bool:
        assert step.pattern is not None
        wanted = int("".join(char for char in step.flags if char.isdigit()) or "1")
        count, last = 0, -1

        def value(match: re.Match[str]) -> str:
            nonlocal count, last
            if match.start() == match.end() == last:  # an empty match right after another one
                return ""
            last = match.end()
            count += 1
            if count < wanted or (count > wanted and "g" not in step.flags):
                return match[0]
            return re.sub(r"\\(.)|&", lambda mark: _inserted(mark, match), step.text, flags=re.DOTALL)

        self._space = step.pattern.sub(value, self._space)
        if count >= wanted and "p" in step.flags:
            self._out.append(self._space)
        return count >= wanted

    def _selected(self, step: _Instruction) -> bool:
        if not step.addresses:
            return True
        first = step.addresses[0]
        if len(step.addresses) == 1:
            return self._at_address(first)
        second = step.addresses[1]
        if step.until is None:
            if not self._at_address(first):
                return False
            if second.offset is not None:
                step.until = self._number + second.offset
            elif second.number is not None:
                step.until = len(self._lines) if second.number == -1 else second.number
            else:
                step.until = -1
                return True
            if step.until <= self._number:
                step.until = None
            return True
        if (step.until == -1 and self._at_address(second)) or 0 <= step.until <= self._number:
            step.until = None
        return True

    def _at_address(self, address: _Address) -> bool:
        if address.pattern is not None:
            return address.pattern.search(self._space) is not None
        if address.number == -1:
            return self._number == len(self._lines)
        if address.step and address.number is not None:
            return self._number >= address.number and (self._number - address.number) % address.step == 0
        return self._number == address.number


def _inserted(mark: re.Match[str], match: re.Match[str]) -> str:
    """Return the text for & or an escape in the replacement."""
    if mark[0] == "&":
        return match[0]
    if mark[1].isdigit():
        number = int(mark[1])
        return (match[number] or "") if number <= (match.re.groups) else ""
    return {"n": "\n", "t": "\t"}.get(mark[1], mark[1])
