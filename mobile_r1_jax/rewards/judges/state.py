"""A judge that knows: grades by what the simulated phone says of its own state, given as data with the trajectory."""

from dataclasses import dataclass

from mobile_r1_jax.agent.trajectory import Ending, Trajectory
from mobile_r1_jax.rewards.judges.judge import JudgeOutage, Score

SCORES = ("done", "milestones_reached", "milestones_total", "shortest_steps")  # as Progress.as_scores names them


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
        missing = [name for name in SCORES if name not in scores]
        if missing:
            return JudgeOutage(f"the phone's progress is not in the trajectory's scores: {', '.join(missing)}")
        reached, total = scores["milestones_reached"], scores["milestones_total"]
        shortest = scores["shortest_steps"]
        if scores["done"] and trajectory.ending is not Ending.SUCCESS:
            return Score(2, "done, but the agent did not end the task as a success")
        if scores["done"]:
            return Score(4 if turns <= shortest else 3, f"done in {turns} turns, {shortest:.0f} are enough")
        return Score(int(0 < total <= 2 * reached), f"{reached:.0f} of {total:.0f} milestones")
