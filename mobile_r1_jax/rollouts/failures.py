"""The reason why a phone ended an episode, in words for counting, with details to find the cause."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """The reason, the turn, the response that led to it, and the last exchanges with the phone.

    message: the reason with the serial and the command. turn: number of complete turns. response: the policy's last
    text, "" before the first one. transcript: commands and answers, oldest first.
    """

    reason: str
    message: str
    turn: int
    response: str
    transcript: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Return the reason without names in quotes and numbers, at most 60 characters: equal for equal causes."""
        words = re.sub(r"(?:'[^']*'|\"[^\"]*\")", "…", self.reason)
        words = re.sub(r"0x[0-9a-f]+|\d+(?:\.\d+)?", "N", words)
        return words if len(words) <= 60 else words[:59] + "…"
