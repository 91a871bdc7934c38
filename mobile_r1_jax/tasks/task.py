"""One task, and how far a phone has got with it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Task:
    """What is asked of the agent, in which app, and what the phone is given to get ready for it (JSON types)."""

    app: str
    instruction: str
    setup: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Return 16 hex digits that equal tasks share on every machine: a hash of app, instruction and setup."""
        record = json.dumps([self.app, self.instruction, dict(self.setup)], sort_keys=True)
        return hashlib.sha256(record.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Progress:
    """How far a phone is with its task.

    done: all goals are reached. remaining: turns that the shortest way to the end still takes, `terminate` included.
    shortest: turns that the shortest way takes from the start, with what got in the way so far, such as pop-ups.
    milestones_reached, milestones_total: steps of the shortest way that came nearer to the goal than ever before.
    """

    done: bool
    remaining: int
    shortest: int
    milestones_reached: int
    milestones_total: int

    def as_scores(self) -> dict[str, float]:
        """Return these facts as entries of `Trajectory.scores`, from which the state judge grades."""
        return {
            "done": float(self.done),
            "milestones_reached": float(self.milestones_reached),
            "milestones_total": float(self.milestones_total),
            "shortest_steps": float(self.shortest),
        }
