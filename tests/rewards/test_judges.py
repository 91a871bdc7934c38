"""The judges without a model, and the reward."""

import pytest
from judged_episodes import CLAIM, DONE, MOVE, NOT_DONE, UNKNOWN, evidence, trajectory

from mobile_r1_jax.agent.actions import Malformed, Terminate, Wait
from mobile_r1_jax.agent.progress import Progress
from mobile_r1_jax.agent.responses import Response
from mobile_r1_jax.agent.trajectory import Ending
from mobile_r1_jax.rewards import (
    ChecksJudge,
    Evidence,
    JudgeOutage,
    Score,
    StateJudge,
    known_score,
    step_format_reward,
    task_reward,
    turn_format_reward,
)


@pytest.mark.parametrize(
    ("turns", "ending", "progress", "grade"),
    [
        (3, Ending.SUCCESS, Progress(True, 0, 3, 2, 2), 4),
        (4, Ending.SUCCESS, Progress(True, 0, 3, 2, 2), 3),
        (3, Ending.OUT_OF_STEPS, Progress(True, 0, 3, 2, 2), 2),
        (3, Ending.GAVE_UP, Progress(True, 0, 3, 2, 2), 2),
        (3, Ending.GAVE_UP, Progress(False, 0, 3, 1, 2), 1),
        (3, Ending.OUT_OF_STEPS, Progress(False, 0, 3, 2, 3), 1),
        (3, Ending.FAILURE, Progress(False, 0, 3, 2, 3), 1),
        (3, Ending.OUT_OF_STEPS, Progress(False, 0, 3, 1, 3), 0),
        (3, Ending.FAILURE, Progress(False, 0, 3, 1, 3), 0),
        (3, Ending.OUT_OF_STEPS, Progress(False, 0, 3, 0, 0), 0),
    ],
)
def test_state_judge_follows_the_rubric(turns, ending, progress, grade) -> None:
    score = StateJudge().score(trajectory("abcd"[:turns], progress, ending))
    assert score.grade == grade
    assert score.value == grade / 4


def test_state_judge_without_progress_is_an_outage() -> None:
    outage = StateJudge().score(trajectory("abc"))
    assert isinstance(outage, JudgeOutage)
    assert "does not report its progress" in outage.reason


@pytest.mark.parametrize(
    ("outcome", "answers", "steps", "grade"),
    [
        (DONE, (MOVE, CLAIM), 2, 4),
        (DONE, (MOVE, CLAIM), None, 4),
        (DONE, (MOVE, MOVE, CLAIM), 2, 3),
        (DONE, (MOVE, MOVE), 2, 2),
        (DONE, (MOVE, Response("", "", Terminate("failure"))), 2, 2),
        (DONE, (MOVE, Malformed("no tags")), 2, 2),
        (NOT_DONE, (MOVE, CLAIM), 2, 0),
        (NOT_DONE, (MOVE,), None, 0),
    ],
)
def test_checks_judge_grades_by_outcome_claim_and_length(outcome, answers, steps, grade) -> None:
    assert ChecksJudge().score(evidence("abc"[: len(answers)], outcome, answers, steps=steps)).grade == grade


def test_unknown_outcome_is_a_permanent_outage_and_not_zero() -> None:
    outage = ChecksJudge().score(evidence("ab", UNKNOWN, (MOVE, CLAIM)))
    assert isinstance(outage, JudgeOutage) and outage.lasting


def test_known_success_comes_from_state_before_checks_and_may_be_unknown() -> None:
    near = Progress(False, 1, 3, 2, 2)
    assert known_score(Evidence(trajectory("abc", near, Ending.FAILURE))).grade == 1
    assert known_score(evidence("abc", NOT_DONE, (MOVE,))).grade == 0
    assert known_score(evidence("abc", UNKNOWN, (MOVE,))) is None


def test_format_rewards_are_zero_or_one_per_step_and_minus_or_plus_one_per_turn() -> None:
    good, bad = Response("", "", Wait(1)), Malformed("no tags")
    assert (step_format_reward(good), step_format_reward(bad)) == (1, 0)
    assert (turn_format_reward(good), turn_format_reward(bad)) == (1, -1)
    assert task_reward(Score(3), [good, good, bad, good]) == 0.75 + 0.5
    assert task_reward(Score(4), [good]) == 2
    assert task_reward(Score(0), [bad]) == -1


def test_grade_outside_the_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 4"):
        Score(5)
