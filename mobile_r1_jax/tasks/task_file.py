"""Reads a task file: YAML, one task after the other. docs/howto/my-tasks.md describes the keys."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, get_args

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.tasks.program import Check, Operator, Program
from mobile_r1_jax.tasks.slots import fill_pattern, misplaced_slot, slots
from mobile_r1_jax.tasks.suite import Split
from mobile_r1_jax.tasks.task import Risk
from mobile_r1_jax.tasks.template import TaskTemplate
from mobile_r1_jax.tasks.text_yaml import (
    WrongYamlError,
    check_known,
    choice,
    describe,
    fields,
    items,
    read_nodes,
    text_of,
    wrong,
)

T = TypeVar("T")

KEYS = ("id", "app", "instruction", "values", "held_out", "setup", "checks", "teardown", "split", "steps", "permits")
REQUIRED = ("id", "app", "instruction", "checks")
OPERATORS = {
    f"{prefix}{name}": (name, bool(prefix)) for prefix in ("", "not_") for name in get_args(Operator)
}  # key -> (operator, negated)
MOST_COMBINATIONS = 10_000  # of the values of one task
_ID = re.compile(r"[\w.-]+")
_PACKAGE = re.compile(r"[A-Za-z]\w*(\.\w+)*", re.ASCII)


class TaskFileError(OneLineError):
    """A wrong task file. One line names the file, the line, the task and the reason."""


@dataclass
class _Slots:
    """Reads texts with slots. values: slot -> its values. used: the slots that were in a text."""

    values: dict[str, dict[str, str]]
    used: set[str] = field(default_factory=set)

    def text(self, node: Node, what: str) -> str:
        """Return the text of a scalar, whose slots all have values."""
        text = text_of(node, what)
        for slot in slots(text):
            check_known(node, slot, self.values, f"{what}: no values for the slot")
            self.used.add(slot)
        return text

    def line(self, node: Node, what: str) -> str:
        """Return a shell line, in which no slot is inside quotes."""
        line = self.text(node, what)
        if not line.strip():
            raise wrong(node, f"{what}: an empty shell line")
        if slot := misplaced_slot(line):
            reason = "is inside quotes, after a backslash or in a here-document; its values are quoted already"
            raise wrong(node, f"{what}: {{{slot}}} {reason}, so leave the quotes out")
        return line


def read_task_file(path: Path) -> tuple[TaskTemplate, ...]:
    """Return the tasks of a file. Raise TaskFileError."""
    where = ""
    try:
        templates: dict[str, TaskTemplate] = {}
        lines: dict[str, int] = {}
        for number, node in enumerate(items(read_nodes(path), "a task file"), 1):
            where = f"task {_name(node) or number}: "
            keys = fields(node, "a task", KEYS)
            if missing := [key for key in REQUIRED if key not in keys]:
                raise wrong(node, _MISSING.get(missing[0], f"{missing[0]} is missing"))
            template = _template(keys)
            if template.id in templates:
                raise wrong(keys["id"], f"the task in line {lines[template.id]} has the same id")
            templates[template.id], lines[template.id] = template, node.start_mark.line + 1
        where = ""
        _refuse_leaks(templates.values(), lines)
    except WrongYamlError as error:
        raise TaskFileError(f"{path}:{error.line}: {where}{' '.join(error.reason.split())}") from error
    except OSError as error:
        raise TaskFileError(f"{path}: {error.strerror or error}") from error
    if not templates:
        raise TaskFileError(f"{path}: there is no task in the file")
    return tuple(templates.values())


_MISSING = {"checks": "checks is missing; write `checks: []` for a task that only a judge can grade"}


def _name(node: Node) -> str:
    """Return the id of a task for a message, also if its other keys are wrong; "" without one."""
    pairs = node.value if isinstance(node, MappingNode) else []
    return next((value.value for key, value in pairs if key.value == "id" and isinstance(value, ScalarNode)), "")


def _template(keys: dict[str, Node]) -> TaskTemplate:
    name = text_of(keys["id"], "id")
    if not _ID.fullmatch(name):
        raise wrong(keys["id"], f"id must be letters, digits, '.', '_' and '-', is {name!r}")
    texts = _Slots(_values(keys["values"]) if "values" in keys else {})
    instructions = _instructions(keys["instruction"], texts)
    setup, opens = _setup(keys["setup"], texts) if "setup" in keys else ((), "")
    program = Program(
        setup=setup,
        opens=opens,
        checks=tuple(_check(node, texts) for node in items(keys["checks"], "checks")),
        teardown=tuple(texts.line(node, "teardown") for node in _one_or_more(keys.get("teardown"))),
    )
    if unused := [slot for slot in texts.values if slot not in texts.used]:
        raise wrong(keys["values"], f"values: nothing uses {{{unused[0]}}}")
    split = choice(keys["split"], "split", _named(Split)) if "split" in keys else Split.TRAIN
    held_out = _held_out(keys["held_out"], texts.values, slots(instructions[0])) if "held_out" in keys else {}
    if held_out and split is not Split.TRAIN:
        raise wrong(keys["held_out"], f"held_out has no meaning in split {split}: none of its values are trained")
    return TaskTemplate(
        id=name,
        app=text_of(keys["app"], "app"),
        instructions=instructions,
        program=program,
        values=texts.values,
        held_out=held_out,
        split=split,
        steps=_steps(keys["steps"]) if "steps" in keys else None,
        permits=frozenset(choice(node, "permits", _named(Risk)) for node in _one_or_more(keys.get("permits"))),
    )


def _named(options: Iterable[T]) -> dict[str, T]:
    return {str(option): option for option in options}


def _one_or_more(node: Node | None) -> list[Node]:
    """Return the nodes of a list, or a single text as a list of one."""
    if node is None:
        return []
    return node.value if isinstance(node, SequenceNode) else [node]


def _values(node: Node) -> dict[str, dict[str, str]]:
    """Return slot -> text in the instruction -> text in the lines. A list has the same text for both."""
    values: dict[str, dict[str, str]] = {}
    for slot, listed in fields(node, "values").items():
        what = f"values of {slot}"
        if slots(f"{{{slot}}}") != [slot]:
            raise wrong(listed, f"values: {slot!r} is not a name for a slot; use letters, digits and '_'")
        if isinstance(listed, SequenceNode):
            texts = [text_of(item, what) for item in listed.value]
            if twice := [text for text in texts if texts.count(text) > 1]:
                raise wrong(listed, f"{what} has {twice[0]!r} twice")
            values[slot] = dict(zip(texts, texts, strict=True))
        elif isinstance(listed, ScalarNode):
            raise wrong(listed, f"{what} must be a list, is {describe(listed)}; write [{listed.value}]")
        else:
            values[slot] = {label: text_of(value, what) for label, value in fields(listed, what).items()}
        if not values[slot]:
            raise wrong(listed, f"{what} is empty; name at least one value")
    if (count := math.prod(map(len, values.values()))) > MOST_COMBINATIONS:
        raise wrong(node, f"values make {count:,} combinations; at most {MOST_COMBINATIONS:,} are possible")
    return values


def _instructions(node: Node, texts: _Slots) -> tuple[str, ...]:
    """Return the wordings of the instruction, which all name the same slots."""
    wordings = {texts.text(part, "instruction").strip(): part for part in _one_or_more(node)}
    if not wordings or "" in wordings:
        raise wrong(node, "instruction is empty")
    first = set(slots(next(iter(wordings))))
    for text, part in wordings.items():
        if lacks := first ^ set(slots(text)):
            raise wrong(part, f"instruction: {{{min(lacks)}}} is in one wording and not in another")
    return tuple(wordings)


def _setup(node: Node, texts: _Slots) -> tuple[tuple[str, ...], str]:
    """Return the shell lines, and the link of the last step ("" without one)."""
    lines: list[str] = []
    steps = _one_or_more(node)
    for step in steps:
        if isinstance(step, ScalarNode):
            lines.append(texts.line(step, "setup"))
            continue
        parts = fields(step, "a step of setup", ("clear", "open"))
        if len(parts) != 1:
            raise wrong(step, "a step of setup is a shell line, `clear: PACKAGE` or `open: LINK`")
        if "clear" in parts:
            package = text_of(parts["clear"], "clear")
            if not _PACKAGE.fullmatch(package):
                raise wrong(step, f"clear must be a package, such as com.android.deskclock, is {package!r}")
            lines.append(f"pm clear {package}")
        elif step is not steps[-1]:
            raise wrong(step, "open must be the last step of setup: its page is the start screen")
        else:
            return tuple(lines), _link(parts["open"], texts)
    return tuple(lines), ""


def _link(node: Node, texts: _Slots) -> str:
    link = texts.text(node, "open").strip()
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:.", link):
        raise wrong(node, f"open must be a link, such as https://example.org/, is {link!r}")
    return link


def _check(node: Node, texts: _Slots) -> Check:
    keys = fields(node, "a check", ("shell", *OPERATORS))
    if "shell" not in keys:
        raise wrong(node, "a check needs `shell`, the line whose output decides")
    operators = [key for key in keys if key != "shell"]
    if len(operators) != 1:
        has = f"has {' and '.join(operators)}; write a check for each" if operators else "has none"
        raise wrong(node, f"a check needs one of {', '.join(OPERATORS)}; this one {has}")
    key = operators[0]
    operator, negated = OPERATORS[key]
    expected = texts.text(keys[key], key)
    if operator != "equals" and not expected:
        raise wrong(keys[key], f"{key}: an empty text is in every output")
    if operator == "matches":
        try:
            re.compile(fill_pattern(expected, dict.fromkeys(slots(expected), "x")), re.M)
        except (re.error, OverflowError, RecursionError) as error:
            raise wrong(keys[key], f"{key}: {expected!r} is not a regular expression: {error}") from error
    return Check(texts.line(keys["shell"], "shell"), operator, expected, negated)


def _held_out(node: Node, values: dict[str, dict[str, str]], named: list[str]) -> dict[str, frozenset[str]]:
    held_out: dict[str, frozenset[str]] = {}
    for slot, listed in fields(node, "held_out", values).items():
        if slot not in named:
            raise wrong(listed, f"held_out: the instruction does not name {{{slot}}}, so training would use it as well")
        labels = {text_of(item, f"held_out {slot}"): item for item in _one_or_more(listed)}
        for label, item in labels.items():
            check_known(item, label, values[slot], f"held_out: {slot} has no value")
        if not labels or len(labels) == len(values[slot]):
            raise wrong(listed, f"held_out: {'no' if not labels else 'every'} value of {slot} is held out")
        held_out[slot] = frozenset(labels)
    return held_out


def _steps(node: Node) -> int:
    text = text_of(node, "steps")
    if not re.fullmatch(r"[1-9][0-9]{0,3}", text):
        raise wrong(node, f"steps must be a whole number from 1 to 9999, is {text!r}")
    return int(text)


def _refuse_leaks(templates: Iterable[TaskTemplate], lines: dict[str, int]) -> None:
    """Raise WrongYamlError if training would see an app or an instruction of another split."""
    trained = [template for template in templates if template.split is Split.TRAIN]
    apps = {template.app: template.id for template in trained}
    instructions = {text: template.id for template in trained for text in template.texts(Split.TRAIN)}
    for template in templates:
        where = f"task {template.id}: "
        if template.split is Split.UNSEEN_APPS and (same := apps.get(template.app)):
            raise WrongYamlError(lines[template.id], f"{where}its app {template.app!r} is not unseen: {same} trains it")
        for split in set(Split) - {Split.TRAIN}:
            for text in template.texts(split):
                if same := instructions.get(text):
                    reason = f"{where}training would see its instruction {text!r}, which is also of task {same}"
                    raise WrongYamlError(lines[template.id], reason)
