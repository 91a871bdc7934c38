"""The outcome of an episode, decided by a verifier and never by the policy's claim."""

from enum import StrEnum


class Outcome(StrEnum):
    """Whether a task is done. Unknown: nothing could decide it, or the command of a check failed."""

    DONE = "done"
    NOT_DONE = "not done"
    UNKNOWN = "unknown"
