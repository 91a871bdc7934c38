"""A judge that grades by the outcome that a task's checks decide."""

from dataclasses import dataclass

from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.rewards.judges.judge import Evidence, JudgeOutage, Score


@dataclass(frozen=True)
class ChecksJudge:
    """Grades by outcome and length, as the state judge does as far as checks can tell [ours].

    4: done, ended as a success, in at most as many turns as the task's estimate, or without an estimate. 3: the same in
    more turns. 2: done, but not ended as a success. 0: not done. Checks know no milestones, so there is no 1.
    """

    async def grade(self, evidence: Evidence) -> Score | JudgeOutage:
        """Return `score`."""
        return self.score(evidence)

    def score(self, evidence: Evidence) -> Score | JudgeOutage:
        """Return the grade, or an outage if the outcome is unknown."""
        turns, steps = len(evidence.trajectory.turns), evidence.steps
        if evidence.outcome is Outcome.UNKNOWN:
            return JudgeOutage("no check of the task decides its outcome", lasting=True)
        if evidence.outcome is Outcome.NOT_DONE:
            return Score(0, "a check says that the task is not done")
        if not evidence.claims_success:
            return Score(2, "done, but the agent did not end the task as a success")
        if steps is not None and turns > steps:
            return Score(3, f"done in {turns} turns, {steps} are enough")
        return Score(4, f"done in {turns} turns")
