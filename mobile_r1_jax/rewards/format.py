"""What it is worth that an answer has the full structure, each tag once; whether it has, `parse_response` decides."""

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.responses import Response


def step_format_reward(answer: Response | Malformed) -> float:
    """1 for a well-formed answer, else 0: the scale of the action-level stage [paper]."""
    return 0.0 if isinstance(answer, Malformed) else 1.0


def turn_format_reward(answer: Response | Malformed) -> float:
    """+1 for a well-formed answer, else -1: in the task-level stage errors cost more [paper]."""
    return -1.0 if isinstance(answer, Malformed) else 1.0
