"""Scores of an update: a few outages have no effect, and a run waits after too many."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from judged_episodes import CLAIM, MOVE, evidence, trajectory

from mobile_r1_jax.agent.progress import Progress
from mobile_r1_jax.agent.trajectory import Ending
from mobile_r1_jax.rewards import Evidence, JudgeError, JudgeOutage, JudgeSettings, Score, Usage
from mobile_r1_jax.rewards.judges.choice import RunJudge
from mobile_r1_jax.rollouts.episodes import Episode
from mobile_r1_jax.stages.scoring import score_episodes, score_update
from mobile_r1_jax.tasks.task import Task

QUICK = JudgeSettings(pause_s=0.01, longest_pause_s=0.04, lost=0.5)
OUTAGE, LASTING = JudgeOutage("judge m: gone"), JudgeOutage("no check decides", lasting=True)
FOUR = [evidence(letter) for letter in "abcd"]
TASK = Task("Shop", "buy milk")


@dataclass
class Scripted:
    """A judge with scripted answers per episode, by the number of its calls."""

    lines: dict[str, Sequence[Score | JudgeOutage]]
    asked: list[str] = field(default_factory=list)

    async def grade(self, evidence: Evidence) -> Score | JudgeOutage:
        name = evidence.trajectory.turns[0].response[-1]
        self.asked.append(name)
        said = self.lines.get(name, [Score(4)])
        return said[min(self.asked.count(name), len(said)) - 1]


def score(judge: Scripted, episodes: Sequence[Evidence] = FOUR) -> tuple[list[object], list[str]]:
    said: list[str] = []
    return asyncio.run(score_episodes(episodes, judge, QUICK, said.append)), said


def test_few_outages_are_left_out_without_waiting() -> None:
    judge = Scripted({"a": [OUTAGE], "c": [LASTING]})
    grades, said = score(judge)
    assert grades == [OUTAGE, Score(4), LASTING, Score(4)] and said == [] and len(judge.asked) == 4


def test_run_waits_reports_and_repeats_only_lost_grades_after_many_outages() -> None:
    judge = Scripted({"a": [OUTAGE] * 3 + [Score(1)], "b": [OUTAGE, Score(2)], "c": [OUTAGE] * 9, "d": [OUTAGE] * 9})
    judge.lines["d"] = [OUTAGE] * 4 + [Score(0)]
    grades, said = score(judge)
    assert grades == [Score(1), Score(2), OUTAGE, OUTAGE]
    assert [line.split(": ")[0] for line in said] == [f"{n} of 4 episodes have no grade" for n in (4, 3, 3)]
    assert [line.split("again in ")[1] for line in said] == ["0.01 s", "0.02 s", "0.04 s"]
    assert all("judge m: gone" in line and "\n" not in line for line in said)
    assert [judge.asked.count(name) for name in "abcd"] == [4, 2, 4, 4]


def test_waiting_can_be_cancelled() -> None:
    async def cancelled() -> None:
        judge = Scripted({name: [OUTAGE] for name in "abcd"})
        task = asyncio.create_task(score_episodes(FOUR, judge, replace(QUICK, pause_s=9, longest_pause_s=9), print))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())


def test_permanent_outages_are_a_one_line_error() -> None:
    with pytest.raises(JudgeError, match=r"^3 of 4 episodes have no grade: no check decides. Choose another judge"):
        score(Scripted({name: [LASTING] for name in "abc"}))


def test_judge_is_not_called_for_infrastructure_failures() -> None:
    failed = replace(FOUR[0], trajectory=replace(FOUR[0].trajectory, ending=Ending.INFRASTRUCTURE_FAILURE))
    judge = Scripted({})
    grades, _ = score(judge, [failed, *FOUR[1:3]])
    assert grades == [None, Score(4), Score(4)] and judge.asked == ["b", "c"]
    assert score(Scripted({}), [failed]) == ([None], []) and score(Scripted({}), []) == ([], [])


def test_error_of_the_judge_cancels_the_other_requests() -> None:
    ended: list[str] = []

    class Failing:
        async def grade(self, evidence: Evidence) -> Score:
            name = evidence.trajectory.turns[0].response[-1]
            if name == "a":
                raise JudgeError("spent")
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(name)

    with pytest.raises(JudgeError, match="spent"):
        asyncio.run(score_episodes(FOUR, Failing(), QUICK, print))
    assert sorted(ended) == ["b", "c", "d"]


def played(progress: Sequence[Progress], *answers: object) -> Episode:
    ending = Ending.SUCCESS if progress and progress[-1].done else Ending.FAILURE
    turns = trajectory("abcd"[: len(answers)], progress[-1] if progress else None, ending)
    return Episode(turns, (), tuple(answers), tuple(progress))


DONE_IN_TWO = played(
    [Progress(False, 2, 2, 0, 1), Progress(False, 1, 2, 1, 1), Progress(True, 1, 2, 1, 1)], MOVE, CLAIM
)
FALSE_CLAIM = played([Progress(False, 3, 3, 0, 2), Progress(False, 3, 3, 0, 2)], CLAIM)
MUTE = played([], MOVE, CLAIM)  # a phone without progress


class Chat:
    """Replaces the chat judge: grades every claim as a success."""

    async def grade(self, evidence: Evidence) -> Score:
        return Score(4, "it says so", opinion=4, usage=Usage(1, 100, 10, 0.5, 2.0))


class Steps:
    """Replaces the step judge: every step makes progress."""

    async def judge(self, evidence: Evidence, score: Score) -> tuple[tuple[bool, ...], Usage]:
        turns = len(evidence.trajectory.turns)
        return (True,) * turns, Usage(turns, 10, 1, 0.1, 0.1)


def scored(judge: RunJudge, *episodes: Episode) -> object:
    return asyncio.run(score_update(episodes, [TASK] * len(episodes), judge, print))


def test_state_judge_rewards_are_grade_plus_format_without_cost() -> None:
    scores = scored(RunJudge(replace(QUICK, kind="auto")), DONE_IN_TWO, FALSE_CLAIM)
    np.testing.assert_allclose(scores.rewards, [1 + 1, 0 + 1])
    assert scores.counted.tolist() == [True, True] and scores.metrics == {}
    assert scores.steps == [DONE_IN_TWO.made_progress, FALSE_CLAIM.made_progress]


def test_metrics_compare_the_chat_judge_with_state_and_give_its_cost() -> None:
    scores = scored(RunJudge(replace(QUICK, kind="chat"), Chat()), DONE_IN_TWO, FALSE_CLAIM, MUTE)
    assert scores.metrics["judge_false_complete"] == 1 and scores.metrics["judge_false_reject"] == 0
    assert scores.metrics["judge_within_one"] == 0.5
    assert (scores.metrics["judge_cost"], scores.metrics["judge_tokens"]) == (1.5, 330)
    assert scores.metrics["judge_seconds"] == 2 and all(map(math.isfinite, scores.metrics.values()))


@pytest.mark.parametrize(("kind", "by_chat"), [("chat", [True, True]), ("auto", [False, True])])
def test_chat_judges_steps_if_it_is_the_judge_or_progress_is_unknown(kind, by_chat) -> None:
    scores = scored(RunJudge(replace(QUICK, kind=kind), Chat(), Steps()), FALSE_CLAIM, MUTE)
    expected = [(True,) if by_chat[0] else FALSE_CLAIM.made_progress, (True, True)]
    assert scores.steps == expected and scores.metrics["judge_requests"] >= 3
