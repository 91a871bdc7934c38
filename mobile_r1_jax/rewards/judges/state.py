"""A judge that grades by the state of the simulated phone, which is stored in the trajectory's scores."""

from dataclasses import dataclass

from mobile_r1_jax.agent.trajectory import Ending, Trajectory
from mobile_r1_jax.rewards.judges.judge import Evidence, JudgeOutage, Score

SCORES = ("done", "milestones_reached", "milestones_total", "shortest_steps")  # names from Progress.as_scores


@dataclass(frozen=True)
class StateJudge:
    """Grades by the paper's rubric, as rules on the phone's state [ours].

    4: done, ended as a success, in at most as many turns as the oracle. 3: the same in more turns. 2: done, but not
    ended as a success (the agent continued until it was out of steps, or gave up). 1: at least half of the milestones.
    0: less. The ending does not change grades 1 and 0: if a false claim of success got a lower grade than continuing,
    the policy would learn never to end a task.
    """

    async def grade(self, evidence: Evidence) -> Score | JudgeOutage:
        """Return `score` of the trajectory."""
        return self.score(evidence.trajectory)

    def score(self, trajectory: Trajectory) -> Score | JudgeOutage:
        """Return the grade of a trajectory, or an outage if its scores lack `Progress.as_scores()`."""
        scores, turns = trajectory.scores, len(trajectory.turns)
        missing = [name for name in SCORES if name not in scores]
        if missing:
            return JudgeOutage(
                f"the phone's progress is not in the trajectory's scores: {', '.join(missing)}", lasting=True
            )
        reached, total = scores["milestones_reached"], scores["milestones_total"]
        shortest = scores["shortest_steps"]
        if scores["done"] and trajectory.ending is not Ending.SUCCESS:
            return Score(2, "done, but the agent did not end the task as a success")
        if scores["done"]:
            return Score(4 if turns <= shortest else 3, f"done in {turns} turns, {shortest:.0f} are enough")
        return Score(int(0 < total <= 2 * reached), f"{reached:.0f} of {total:.0f} milestones")
