"""One task."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from mobile_r1_jax.tasks.program import Program


class Risk(StrEnum):
    """A kind of action that a guard refuses, unless the task permits it."""

    PAYMENT = "payment"
    DELETION = "deletion"
    SENDING = "sending"
    INSTALLING = "installing"
    PERMISSIONS = "permissions"


@dataclass(frozen=True)
class Task:
    """An instruction for the agent, and its app.

    setup: the start state of a simulated phone (JSON types). program: shell lines for any phone. name: the task's id in
    its file. steps: an estimate of the turns that it takes. permits: risky actions that it needs.
    """

    app: str
    instruction: str
    setup: Mapping[str, Any] = field(default_factory=dict)
    program: Program = field(default_factory=Program)
    name: str = ""
    steps: int | None = None
    permits: frozenset[Risk] = frozenset()

    @property
    def id(self) -> str:
        """Return a hash of app, instruction, setup and program: 16 hex digits, the same on every machine."""
        parts = [self.app, self.instruction, dict(self.setup)]
        if self.program != Program():
            parts.append(asdict(self.program))
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
