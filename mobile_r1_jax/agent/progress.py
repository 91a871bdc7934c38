"""A phone's progress with its task."""

from dataclasses import dataclass, fields
from typing import Any

from mobile_r1_jax.agent.json_fields import BrokenError


@dataclass(frozen=True)
class Progress:
    """A phone's progress with its task.

    done: all goals are reached. remaining: turns of the shortest path from the current state, `terminate` included.
    shortest: turns of the shortest path from the start, plus one for each pop-up so far. milestones_reached,
    milestones_total: steps of the shortest path that are done, at the best state so far, and their total.
    """

    done: bool
    remaining: int
    shortest: int
    milestones_reached: int
    milestones_total: int


def progress_from_json(value: Any) -> Progress:
    """Return the progress that `dataclasses.asdict` wrote. Raise BrokenError for anything else."""
    kinds = {field.name: field.type for field in fields(Progress)}
    if not isinstance(value, dict) or {name: type(part) for name, part in value.items()} != kinds:
        raise BrokenError(f"progress must have {', '.join(kinds)}, is {value!r:.100}")
    return Progress(**value)
