"""The simulator's tasks by name, for people: "send Anna Hello" is the template `send` with its two parameters.

A named task has the same start state on every phone, and no pop-ups.
"""

import difflib
import functools

from mobile_r1_jax.phones.simulator.apps import TEMPLATES
from mobile_r1_jax.phones.simulator.tasks import combinations
from mobile_r1_jax.tasks.task import Task


@functools.cache
def named_tasks() -> dict[str, Task]:
    """Return name -> task, with the English instruction, for each template and each combination of parameters."""
    return {
        " ".join((template.name, *parameters.values())): Task(
            template.app,
            template.english.format(**parameters),
            {"template": template.name, "parameters": parameters, "seed": 0, "popups": 0},
        )
        for template in TEMPLATES.values()
        for held_out in (False, True)
        for parameters in combinations(template, held_out=held_out)
    }


def find_task(name: str) -> Task:
    """Return the task of that name. Raises ValueError if there is none."""
    tasks = named_tasks()
    if name in tasks:
        return tasks[name]
    (closest,) = difflib.get_close_matches(name[:80], tasks, n=1, cutoff=0)
    raise ValueError(f"no task is named {name[:80]!r}; the closest is {closest!r}, and `tasks` lists all")


def list_tasks() -> str:
    """Return one line per task in alphabetical order: its name, a tab, its instruction."""
    return "".join(f"{name}\t{task.instruction}\n" for name, task in sorted(named_tasks().items()))
