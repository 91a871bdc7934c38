"""One task, and a phone's progress with it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Task:
    """An instruction for the agent, its app, and the setup that prepares the phone (JSON types)."""

    app: str
    instruction: str
    setup: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Return a hash of app, instruction and setup: 16 hex digits, the same on every machine."""
        record = json.dumps([self.app, self.instruction, dict(self.setup)], sort_keys=True)
        return hashlib.sha256(record.encode()).hexdigest()[:16]


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

    def as_scores(self) -> dict[str, float]:
        """Return the entries for `Trajectory.scores`, which the state judge reads."""
        return {
            "done": float(self.done),
            "milestones_reached": float(self.milestones_reached),
            "milestones_total": float(self.milestones_total),
            "shortest_steps": float(self.shortest),
        }
