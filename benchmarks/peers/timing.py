"""Times of several implementations of the same work, measured in turns."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Run = Callable[[], np.ndarray]  # completes the work, and returns a result to compare with other implementations
WARM_UPS = 2  # the second call may compile again, for the placement of the first call's results


@dataclass(frozen=True)
class Times:
    """Seconds of each repetition."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def times_faster(self, other: "Times") -> tuple[float, float, float]:
        """Return the speed-up over `other`: ratio of the medians, smallest and largest ratio of the repetitions."""
        ratios = [theirs / ours for ours, theirs in zip(self.seconds, other.seconds, strict=True)]
        return other.median / self.median, min(ratios), max(ratios)


def warm_up(run: Run) -> np.ndarray:
    """Compile, and return the result of the first call."""
    first, *_ = [run() for _ in range(WARM_UPS)]
    return first


def time_in_turns(runs: Mapping[str, Run], repetitions: int) -> dict[str, Times]:
    """Run each implementation once, in the given order, and repeat this `repetitions` times."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repetitions):
        for name, run in runs.items():
            gc.collect()
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    return {name: Times(tuple(some)) for name, some in seconds.items()}
