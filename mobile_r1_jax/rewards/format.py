"""Format rewards. A response is well-formed if `parse_response` accepts it."""

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.responses import Response


def step_format_reward(answer: Response | Malformed) -> float:
    """Return 1 for a well-formed answer, else 0: the scale of the action-level stage [paper]."""
    return 0.0 if isinstance(answer, Malformed) else 1.0


def turn_format_reward(answer: Response | Malformed) -> float:
    """Return 1 for a well-formed answer, else -1: the scale of the task-level stage [paper]."""
    return -1.0 if isinstance(answer, Malformed) else 1.0
