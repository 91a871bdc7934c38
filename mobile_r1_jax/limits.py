"""Which numbers a field of a run may hold.

A field declares its interval with its type: `scale: Annotated[float, "(0, inf)"]`. A round bracket excludes the end, a
square bracket includes it. An integer must fit int32, so "inf" means 2**31 - 1 for it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from math import inf
from typing import Annotated, Any, get_args, get_origin, get_type_hints

INTERVAL = re.compile(r"([\[(])(\d+), (\d+|inf)([\])])")
MOST = 2**31 - 1  # the largest int32


@dataclass(frozen=True)
class Range:
    """Finite numbers from `least` to `most`; `above` and `below` exclude the ends."""

    least: float
    most: float = inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        """Return whether a number is in the range. NaN and infinity never are."""
        over = value > self.least if self.above else value >= self.least
        under = value < self.most if self.below or self.most == inf else value <= self.most
        return over and under

    def __str__(self) -> str:
        least = f"{'above' if self.above else 'at least'} {self.least:,}"
        return f"{least} and " + (
            "finite" if self.most == inf else f"{'below' if self.below else 'at most'} {self.most:,}"
        )


def parse_range(interval: str, whole: bool) -> Range:
    """Return the range that an interval such as "[0, 1)" means; `whole`: of integers.

    Raise ValueError for text that is not an interval.
    """
    match = INTERVAL.fullmatch(interval)
    if match is None:
        raise ValueError(f"{interval!r} is not an interval such as '[0, 1)' or '(0, inf)'")
    left, least, most, right = match.groups()
    if most == "inf":
        return Range(int(least), MOST if whole else inf, above=left == "(")
    return Range(int(least), int(most), above=left == "(", below=right == ")")


def ranges(owner: type, name: str = "") -> Iterator[tuple[str, Range]]:
    """Yield (dotted name, range) of each field that declares one, in a dataclass and in the dataclasses inside it."""
    for field, hint in get_type_hints(owner, include_extras=True).items():
        path = f"{name}.{field}".removeprefix(".")
        if get_origin(hint) is Annotated:
            kind, interval = get_args(hint)
            yield path, parse_range(interval, whole=int in (kind, *get_args(kind)))
        for part in (hint, *get_args(hint)):
            if is_dataclass(part):
                yield from ranges(part, path)


def out_of_range(values: Iterable[tuple[str, Any]], limits: Mapping[str, Range]) -> Iterator[str]:
    """Yield a message for each field that holds a number outside its range.

    Args:
      values: pairs of a field's dotted name and its value: a number, a sequence or a dict of numbers, or anything else.
      limits: ranges by dotted name; a field without one may hold anything.
    """
    for name, value in values:
        if name not in limits or value is None:
            continue
        numbers = list(value.values()) if isinstance(value, dict) else value
        numbers = numbers if isinstance(numbers, (list, tuple)) else [numbers]
        if not numbers:
            yield f"{name} is empty; name at least one number"
        elif not all(number in limits[name] for number in numbers):
            yield f"{name} is {value}; it must be {limits[name]}"
