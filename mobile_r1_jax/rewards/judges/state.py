"""A judge that grades by the state of the simulated phone, as far as the phone reports it."""

from dataclasses import dataclass

from mobile_r1_jax.agent.trajectory import Ending, Trajectory
from mobile_r1_jax.rewards.judges.judge import Evidence, JudgeOutage, Score


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
        """Return the grade of a trajectory, or an outage if its phone did not report progress."""
        progress, turns = trajectory.progress, len(trajectory.turns)
        if progress is None:
            return JudgeOutage("the phone does not report its progress", lasting=True)
        reached, total = progress.milestones_reached, progress.milestones_total
        if progress.done and trajectory.ending is not Ending.SUCCESS:
            return Score(2, "done, but the agent did not end the task as a success")
        if progress.done:
            return Score(
                4 if turns <= progress.shortest else 3, f"done in {turns} turns, {progress.shortest} are enough"
            )
        return Score(int(0 < total <= 2 * reached), f"{reached} of {total} milestones")
