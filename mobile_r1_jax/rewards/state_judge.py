"""A judge that knows: grades by what the simulated phone says of its own state, given as data with the trajectory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mobile_r1_jax.agent.trajectory import Trajectory
from mobile_r1_jax.rewards.judge import JudgeOutage, Score

LONGEST_LOOP = 3  # screens in a cycle that still counts as a loop [our choice]


@dataclass(frozen=True)
class Progress:
    """How far a phone has got with its task."""

    done: bool
    milestones_reached: int
    milestones_total: int
    shortest_steps: int  # turns that the oracle takes from the start, `terminate` included

    def as_scores(self) -> dict[str, float]:
        """These facts as entries of `Trajectory.scores`, where the judge finds them again."""
        return {
            "done": float(self.done),
            "milestones_reached": float(self.milestones_reached),
            "milestones_total": float(self.milestones_total),
            "shortest_steps": float(self.shortest_steps),
        }


def read_progress(at_start: Mapping[str, Any], at_end: Mapping[str, Any]) -> Progress:
    """Progress from what the phone said right after its reset and at the end of the episode.

    Each is `{"done": bool, "remaining": int, "milestones": [reached, total]}`; `remaining` counts the oracle's turns.
    """
    reached, total = at_end["milestones"]
    return Progress(bool(at_end["done"]), int(reached), int(total), int(at_start["remaining"]))


@dataclass(frozen=True)
class StateJudge:
    """Grades by the paper's rubric, read as rules on the phone's state [our choice].

    4: done, in no more turns than the oracle's. 3: done in more. 2: done but ending in a loop (it never noticed), or at
    least half of the milestones reached. 1: some milestone. 0: none.
    """

    def score(self, trajectory: Trajectory) -> Score | JudgeOutage:
        """Grade of a trajectory whose scores hold `Progress.as_scores()`; an outage where they don't."""
        scores, turns = trajectory.scores, len(trajectory.turns)
        missing = [name for name in Progress(False, 0, 0, 0).as_scores() if name not in scores]
        if missing:
            return JudgeOutage(f"the phone's progress is not in the trajectory's scores: {', '.join(missing)}")
        reached, total = scores["milestones_reached"], scores["milestones_total"]
        shortest = scores["shortest_steps"]
        if scores["done"]:
            if turns <= shortest:
                return Score(4, f"done in {turns} turns")
            if ends_in_loop([turn.screenshot.sha for turn in trajectory.turns]):
                return Score(2, f"done, but still going round in circles after {turns} turns")
            return Score(3, f"done in {turns} turns where {shortest:.0f} were enough")
        reason = f"{reached:.0f} of {total:.0f} milestones"
        if reached > 0:
            return Score(2 if 2 * reached >= total else 1, reason)
        return Score(0, reason)


def ends_in_loop(screens: list[str]) -> bool:
    """Whether the last screens (in order, each by its hash) are three times the same, or twice a cycle of 2 or 3."""
    for period in range(1, LONGEST_LOOP + 1):
        tail = screens[-max(3, 2 * period) :]
        if len(tail) == max(3, 2 * period) and all(a == b for a, b in zip(tail[:-period], tail[period:], strict=True)):
            return True
    return False
