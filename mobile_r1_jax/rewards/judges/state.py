"""A judge that knows: grades by what the simulated phone says of its own state, given as data with the trajectory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mobile_r1_jax.agent.trajectory import Ending, Trajectory
from mobile_r1_jax.rewards.judges.judge import JudgeOutage, Score


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

    Each is `{"done": bool, "remaining": int, "milestones": [reached, total]}`; `remaining` counts the oracle's turns. A
    phone on which something can get in the way adds `shortest`, the oracle's turns with what did get in the way.
    """
    reached, total = at_end["milestones"]
    shortest = at_end.get("shortest", at_start["remaining"])
    return Progress(bool(at_end["done"]), int(reached), int(total), int(shortest))


@dataclass(frozen=True)
class StateJudge:
    """Grades by the paper's rubric, read as rules on the phone's state [our choice].

    4: done, and said so, in no more turns than the oracle's. 3: the same in more turns. 2: done without noticing (the
    trajectory goes round in circles until it is out of steps, or gives up). 1: at least half of the milestones.
    0: less. How it ended makes no difference to 1 and 0: were a success that is claimed and is not there worth less
    than going on for ever, going on for ever would pay.
    """

    def score(self, trajectory: Trajectory) -> Score | JudgeOutage:
        """Grade of a trajectory whose scores hold `Progress.as_scores()`; an outage where they don't."""
        scores, turns = trajectory.scores, len(trajectory.turns)
        missing = [name for name in Progress(False, 0, 0, 0).as_scores() if name not in scores]
        if missing:
            return JudgeOutage(f"the phone's progress is not in the trajectory's scores: {', '.join(missing)}")
        reached, total = scores["milestones_reached"], scores["milestones_total"]
        shortest = scores["shortest_steps"]
        if scores["done"] and trajectory.ending is not Ending.SUCCESS:
            return Score(2, "done, but the agent did not end the task as a success")
        if scores["done"]:
            return Score(4 if turns <= shortest else 3, f"done in {turns} turns, {shortest:.0f} are enough")
        return Score(int(0 < total <= 2 * reached), f"{reached:.0f} of {total:.0f} milestones")
