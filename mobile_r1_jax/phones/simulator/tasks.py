"""Tasks on simulated phones: placing them, telling how far they are, drawing them at random.

A task is placed on a phone by its template's name, its parameters and a seed, so it travels as a small JSON object and
is the same task on every machine. Whether it is done is read from the phone's state, never from its pixels.
"""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from mobile_r1_jax.phones.simulator import gestures
from mobile_r1_jax.phones.simulator.apps import TEMPLATES
from mobile_r1_jax.phones.simulator.oracle import remaining
from mobile_r1_jax.phones.simulator.state import State
from mobile_r1_jax.phones.simulator.templates import Goal, Parameters, Template
from mobile_r1_jax.tasks.task import Task

SETUP = ("template", "parameters", "seed", "popups")  # the keys of a task's setup
CHINESE = 0.3  # share of instructions in Chinese
HELD_OUT = 8  # one in so many combinations of parameters is never trained on


@dataclass
class Placed:
    """A task on a phone: its state, its goals, and the shortest way as it was at the start."""

    state: State
    goals: tuple[Goal, ...]
    start: int = field(init=False)
    nearest: int = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.nearest = remaining(self.state, self.goals)

    def progress(self) -> dict[str, Any]:
        """See `Device.progress`. A milestone is a step by which the goal came nearer than it ever was."""
        left = remaining(self.state, self.goals)
        self.nearest = min(self.nearest, left)
        done = all(goal.reached(self.state) for goal in self.goals)
        # A pop-up that opens as the task is done is in nobody's way: `finish` does not touch it.
        in_the_way = self.state.popups_shown - (done and self.state.popup is not None)
        return {
            "done": done,
            "remaining": left,
            "shortest": self.start + in_the_way,
            "milestones": [self.start - self.nearest, self.start - 1],
        }


def place(setup: dict[str, Any]) -> Placed:
    """The task that `setup` (template, parameters, seed, popups) names. Raises ValueError naming what is wrong."""
    try:
        template, parameters = TEMPLATES[setup["template"]], dict(setup["parameters"])
        rng, popups = Random(setup["seed"]), int(setup.get("popups", 0))
        if popups < 0 or set(setup) - set(SETUP):
            raise ValueError("an unknown key or a negative number")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"task setup {setup!r}: {error!r}; it takes {', '.join(SETUP)}") from error
    wrong = [name for name, domain in template.domains.items() if parameters.get(name) not in domain]
    if wrong or set(parameters) != set(template.domains):
        raise ValueError(f"task {template.name!r}: parameters {parameters!r} are not of {template.domains}")
    state = gestures.fresh_state(rng)
    template.prepare(state, parameters)
    state.popups_shown = 0
    state.waiting = [
        (rng.randint(1, 3), gestures.shuffled(popup, rng))
        for popup in rng.sample(gestures.POPUPS, min(popups, len(gestures.POPUPS)))
    ]
    return Placed(state, template.goals(parameters))


def combinations(template: Template, *, held_out: bool) -> list[Parameters]:
    """The parameters that are for training, or the one in eight that is for evaluation alone.

    Which is which is the same on every machine. One in eight, because names are few: with more held out some would be
    left to two or three kinds of tasks, and a policy learns that such a name asks for these. Where there are fewer than
    eight nothing is held out, for the same reason: of four pages the other three don't teach what a page is. And a
    template whose instruction names no parameter has nothing to hold out: training would give the same instruction.
    """
    domains = template.domains
    every = [dict(zip(domains, values, strict=True)) for values in itertools.product(*domains.values())]
    every.sort(key=lambda parameters: hashlib.sha256(f"{template.name}{sorted(parameters.items())}".encode()).digest())
    kept = len(every) // HELD_OUT if template.varied else 0
    return every[:kept] if held_out else every[kept:]


def draw_tasks(
    count: int, *, seed: int, apps: Sequence[str], held_out: bool, popups: float, evaluated: bool = False
) -> list[Task]:
    """Random tasks on these apps: templates in turn, so that none is missing; `popups` is the mean number a task has.

    evaluated: only of templates that hold something out, the kinds of tasks that evaluation asks for.

    Raises ValueError where no template is left.
    """
    rng = Random(f"tasks/{seed}/{held_out}")
    asked = [template for template in TEMPLATES.values() if template.app in apps]
    if evaluated:
        asked = [template for template in asked if combinations(template, held_out=True)]
    pool = [(template, combos) for template in asked if (combos := combinations(template, held_out=held_out))]
    if not pool:
        there = sorted({template.app for template in TEMPLATES.values()})
        raise ValueError(f"no task templates for apps {list(apps)}; there are {there}")
    tasks: list[Task] = []
    while len(tasks) < count:
        rng.shuffle(pool)
        for template, combos in pool:
            parameters = rng.choice(combos)
            wording = template.chinese if rng.random() < CHINESE else template.english
            often = int(popups) + (rng.random() < popups - int(popups))
            setup = {"template": template.name, "parameters": parameters, "seed": rng.getrandbits(32), "popups": often}
            tasks.append(Task(template.app, wording.format(**parameters), setup))
    return tasks[:count]


def held_out_instructions() -> frozenset[str]:
    """Every instruction that `draw_tasks` gives with `held_out`, in both languages."""
    return frozenset(
        wording.format(**parameters)
        for template in TEMPLATES.values()
        for parameters in combinations(template, held_out=True)
        for wording in (template.english, template.chinese)
    )
