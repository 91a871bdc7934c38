"""Tasks on simulated phones: start states, progress and random draws.

A task's setup is a small JSON object: the template's name, its parameters, a seed and the number of pop-ups. It gives
the same task on every machine. Progress is read from the phone's state, never from its pixels.
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
CHINESE = 0.3  # share of Chinese instructions
HELD_OUT = 8  # one in HELD_OUT combinations of parameters is held out from training


@dataclass
class Placed:
    """A task on a phone. `start`: steps of the shortest path at the start; `nearest`: fewest remaining steps so far."""

    state: State
    goals: tuple[Goal, ...]
    instruction: str  # in English
    start: int = field(init=False)
    nearest: int = field(init=False)

    def __post_init__(self) -> None:
        self.start = self.nearest = remaining(self.state, self.goals)

    def progress(self) -> dict[str, Any]:
        """Return the progress of the task.

        done: all goals are reached. remaining: steps of the shortest path from here. shortest: steps of the shortest
        path from the start, with one for each pop-up so far. milestones: [reached, total]; each step of the
        shortest path is a milestone, reached when the state is that close to the goal for the first time.
        """
        left = remaining(self.state, self.goals)
        self.nearest = min(self.nearest, left)
        done = all(goal.reached(self.state) for goal in self.goals)
        # A pop-up that opens when the task is done needs no extra step.
        popups = self.state.popups_shown - (done and self.state.popup is not None)
        return {
            "done": done,
            "remaining": left,
            "shortest": self.start + popups,
            "milestones": [self.start - self.nearest, self.start - 1],
        }


def place(setup: dict[str, Any]) -> Placed:
    """Return the task of `setup` (template, parameters, seed, popups). Raises ValueError if the setup is invalid."""
    try:
        template, parameters = TEMPLATES[setup["template"]], dict(setup["parameters"])
        rng, popups = Random(setup["seed"]), int(setup.get("popups", 0))
        if popups < 0 or set(setup) - set(SETUP):
            raise ValueError("unknown key or negative number of pop-ups")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"task setup {setup!r}: {error!r}; it takes {', '.join(SETUP)}") from error
    wrong = [name for name, domain in template.domains.items() if parameters.get(name) not in domain]
    if wrong or set(parameters) != set(template.domains):
        raise ValueError(f"task {template.name!r}: parameters {parameters!r} are not in {template.domains}")
    state = gestures.fresh_state(rng)
    template.prepare(state, parameters)
    state.popups_shown = 0
    state.waiting = [
        (rng.randint(1, 3), gestures.shuffled(popup, rng))
        for popup in rng.sample(gestures.POPUPS, min(popups, len(gestures.POPUPS)))
    ]
    return Placed(state, template.goals(parameters), template.english.format(**parameters))


def combinations(template: Template, *, held_out: bool) -> list[Parameters]:
    """Return the parameters for training or, if `held_out`, the one in eight for evaluation only.

    The split is the same on every machine. There are few names. With more held out, some names would occur in only two
    or three kinds of tasks, and the policy would connect the name with these kinds. For the same reason, nothing is
    held out of fewer than eight combinations. Nothing is held out either if the instruction names no parameter, because
    training would use the same instruction.
    """
    domains = template.domains
    every = [dict(zip(domains, values, strict=True)) for values in itertools.product(*domains.values())]
    every.sort(key=lambda parameters: hashlib.sha256(f"{template.name}{sorted(parameters.items())}".encode()).digest())
    count = len(every) // HELD_OUT if template.varied else 0
    return every[:count] if held_out else every[count:]


def draw_tasks(
    count: int, *, seed: int, apps: Sequence[str], held_out: bool, popups: float, evaluated: bool = False
) -> list[Task]:
    """Return random tasks on `apps`, from each template in turn.

    popups: mean number per task. evaluated: use only templates with held-out parameters, which evaluation uses.
    Raises ValueError if no template is left.
    """
    rng = Random(f"tasks/{seed}/{held_out}")
    chosen = [template for template in TEMPLATES.values() if template.app in apps]
    if evaluated:
        chosen = [template for template in chosen if combinations(template, held_out=True)]
    pool = [(template, combos) for template in chosen if (combos := combinations(template, held_out=held_out))]
    if not pool:
        known = sorted({template.app for template in TEMPLATES.values()})
        raise ValueError(f"no task templates for apps {list(apps)}; there are {known}")
    tasks: list[Task] = []
    while len(tasks) < count:
        rng.shuffle(pool)
        for template, combos in pool:
            parameters = rng.choice(combos)
            wording = template.chinese if rng.random() < CHINESE else template.english
            number = int(popups) + (rng.random() < popups - int(popups))
            setup = {"template": template.name, "parameters": parameters, "seed": rng.getrandbits(32), "popups": number}
            tasks.append(Task(template.app, wording.format(**parameters), setup))
    return tasks[:count]


def held_out_instructions() -> frozenset[str]:
    """Return every instruction of `draw_tasks` with `held_out`, in both languages."""
    return frozenset(
        wording.format(**parameters)
        for template in TEMPLATES.values()
        for parameters in combinations(template, held_out=True)
        for wording in (template.english, template.chinese)
    )
