"""Which numbers a run may have. What lies outside is refused in one line, before anything starts."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Any


@dataclass(frozen=True)
class Range:
    """Finite numbers from `least` to `most`; `above` and `below` leave the ends out."""

    least: float
    most: float = inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether a number lies inside; NaN and infinity never do."""
        over = value > self.least if self.above else value >= self.least
        under = value < self.most if self.below or self.most == inf else value <= self.most
        return over and under

    def __str__(self) -> str:
        least = f"{'above' if self.above else 'at least'} {self.least:,}"
        return f"{least} and " + (
            "finite" if self.most == inf else f"{'below' if self.below else 'at most'} {self.most:,}"
        )


MOST = 2**31 - 1  # of a count: what an int32 holds
COUNT, COUNT_OR_NONE = Range(1, MOST), Range(0, MOST)
SHARE, POSITIVE, NOT_NEGATIVE = Range(0, 1), Range(0, above=True), Range(0)

# By the name of the field; with its section where fields of one name differ.
LIMITS: dict[str, Range] = {
    "seed": COUNT_OR_NONE,
    "temperature": POSITIVE,
    "evaluation.temperature": NOT_NEGATIVE,  # 0 is greedy
    "top_p": Range(0, 1, above=True),
    "top_k": COUNT,
    "save_every": COUNT,
    "scale": POSITIVE,
    "factor": COUNT,
    "min_pixels": COUNT,
    "max_pixels": COUNT,
    "prompt_tokens": COUNT,
    "response_tokens": COUNT,
    "windows": COUNT,
    "screens": COUNT,
    "slots": COUNT,
    "rank": COUNT,
    "alpha": POSITIVE,
    "count": COUNT,
    "size": Range(1, 16_384),  # pixels: no screen is larger
    "popups": Range(0, 100),
    "mistakes": SHARE,
    "most_turns": COUNT,
    "updates": COUNT_OR_NONE,
    "batch": COUNT,
    "micro_batch": COUNT,
    "prompts": COUNT,
    "tasks": COUNT,
    "group": Range(2, MOST),  # a group of one has no better and no worse
    "step_weight": NOT_NEGATIVE,
    "closeness": Range(0, 1, below=True),
    "epsilon_low": SHARE,
    "epsilon_high": NOT_NEGATIVE,
    "beta": NOT_NEGATIVE,
    "importance_cap": POSITIVE,
    "learning_rate": Range(0, 1, above=True),
    "warmup_steps": COUNT_OR_NONE,
    "total_steps": COUNT,
    "b1": Range(0, 1, below=True),
    "b2": Range(0, 1, below=True),
    "eps": Range(0, 1, above=True),
    "clip_norm": POSITIVE,
    "weight_decay": NOT_NEGATIVE,
    "episodes": COUNT_OR_NONE,
    "unseen_app_episodes": COUNT_OR_NONE,
}


def out_of_range(values: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """Yield what is wrong with each field whose numbers are not all within its limits.

    values: pairs of a field's dotted name and its value, a number, a sequence of numbers, or anything else.
    """
    for name, value in values:
        limit = LIMITS.get(name) or LIMITS.get(name.rpartition(".")[2])
        if limit is None or value is None:
            continue
        numbers = value if isinstance(value, (list, tuple)) else [value]
        if not numbers:
            yield f"{name} is empty; name at least one number"
        elif not all(number in limit for number in numbers):
            yield f"{name} is {value}; it must be {limit}"
