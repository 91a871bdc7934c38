"""Times of several ways to do one piece of work, taken in turns."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Run = Callable[[], np.ndarray]  # does the work to its end, and returns what can be compared with another way's
WARM_UPS = 2  # some programs are compiled anew for the placement that their own first call leaves


@dataclass(frozen=True)
class Times:
    """Seconds of each repetition."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def times_faster(self, other: "Times") -> tuple[float, float, float]:
        """How many times faster than `other`: ratio of the medians, smallest and largest of the repetitions' ratios."""
        ratios = [theirs / ours for ours, theirs in zip(self.seconds, other.seconds, strict=True)]
        return other.median / self.median, min(ratios), max(ratios)


def warm_up(run: Run) -> np.ndarray:
    """Compile; returns what the first call returned."""
    first, *_ = [run() for _ in range(WARM_UPS)]
    return first


def interleaved(runs: Mapping[str, Run], repetitions: int) -> dict[str, Times]:
    """Each way once, in the order given, `repetitions` times over."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repetitions):
        for name, run in runs.items():
            gc.collect()
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    return {name: Times(tuple(some)) for name, some in seconds.items()}
