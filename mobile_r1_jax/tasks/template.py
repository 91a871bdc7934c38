"""One task of a file: texts with slots, the values of the slots, and the tasks that they make."""

import itertools
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from urllib.parse import quote

from mobile_r1_jax.tasks.program import Check, Program
from mobile_r1_jax.tasks.slots import fill, fill_line, fill_pattern
from mobile_r1_jax.tasks.suite import Split
from mobile_r1_jax.tasks.task import Risk, Task

Labels = dict[str, str]  # slot -> its text in the instruction


@dataclass(frozen=True)
class TaskTemplate:
    """A task of a file, whose texts may have slots.

    instructions: wordings, such as one for each language. values: slot -> text in the instruction -> text in shell
    lines and checks. held_out: slot -> texts that only the split unseen_parameters has. program: its lines and the link
    in `opens` have slots too.
    """

    id: str
    app: str
    instructions: tuple[str, ...]
    program: Program
    values: Mapping[str, Mapping[str, str]]
    held_out: Mapping[str, frozenset[str]]
    split: Split = Split.TRAIN
    steps: int | None = None
    permits: frozenset[Risk] = frozenset()

    @cached_property
    def combinations(self) -> list[Labels]:
        """Every choice of a label for each slot; one empty choice if there is no slot."""
        return [dict(zip(self.values, labels, strict=True)) for labels in itertools.product(*self.values.values())]

    def drawn(self, split: Split) -> list[Labels]:
        """Return the combinations of a split. A training task with held-out values has unseen parameters as well."""
        if self.split is not Split.TRAIN:
            return self.combinations if split is self.split else []
        if split not in (Split.TRAIN, Split.UNSEEN_PARAMETERS):
            return []
        held_out = split is Split.UNSEEN_PARAMETERS
        return [labels for labels in self.combinations if self._is_held_out(labels) == held_out]

    def texts(self, split: Split) -> list[str]:
        """Return the instructions of a split."""
        return [fill(wording, labels) for labels in self.drawn(split) for wording in self.instructions]

    def task(self, instruction: str, labels: Labels) -> Task:
        """Return the task of one wording and one combination."""
        values = {slot: self.values[slot][label] for slot, label in labels.items()}
        return Task(
            self.app,
            fill(instruction, labels),
            program=self._program(values),
            name=self.id,
            steps=self.steps,
            permits=self.permits,
        )

    def _program(self, values: Mapping[str, str]) -> Program:
        link = fill(self.program.opens, values, lambda value: quote(value, safe=""))
        return Program(
            setup=tuple(fill_line(line, values) for line in self.program.setup),
            opens=f"am start -W -a android.intent.action.VIEW -d {shlex.quote(link)}" if link else "",
            checks=tuple(_check(check, values) for check in self.program.checks),
            teardown=tuple(fill_line(line, values) for line in self.program.teardown),
        )

    def _is_held_out(self, labels: Labels) -> bool:
        return any(labels[slot] in some for slot, some in self.held_out.items())


def _check(check: Check, values: Mapping[str, str]) -> Check:
    fill_expected = fill_pattern if check.operator == "matches" else fill
    return replace(check, shell=fill_line(check.shell, values), expected=fill_expected(check.expected, values))
