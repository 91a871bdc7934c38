"""Advantages of a turn in the task-level stage: of its trajectory, and of its own step."""

import asyncio

import numpy as np
import pytest
from sample_episodes import ASTRAY, BROKEN, GARBAGE, HIDDEN, LOST, STRAIGHT, episode

from mobile_r1_jax.agent.completion import Completion
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, Turn
from mobile_r1_jax.evaluation.summary import summarize
from mobile_r1_jax.phones.simulator.screen import Screen, draw
from mobile_r1_jax.rewards import Evidence, JudgeSettings, Score
from mobile_r1_jax.rewards.judges.choice import RunJudge
from mobile_r1_jax.rl import group_advantages
from mobile_r1_jax.rollouts.episodes import Episode
from mobile_r1_jax.stages.scoring import score_update
from mobile_r1_jax.stages.task_level import rollout_metrics, step_progress, weighted_turns
from mobile_r1_jax.tasks.task import Task

MUTE = episode(Ending.SUCCESS, (), GARBAGE)  # played on a phone without progress
FOUR = 4  # most turns


def steps_of(*episodes: Episode) -> list[tuple[bool, ...]]:
    return [one.made_progress for one in episodes]


def test_step_with_progress_is_1_without_is_0_and_unknown_is_not_counted() -> None:
    progress, known = step_progress(steps_of(STRAIGHT, LOST, MUTE), np.array([True, True, True]), FOUR)
    assert progress.tolist() == [[1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert known.tolist() == [[True, True, True, False], [True, True, False, False], [False] * FOUR]


def test_uncounted_episode_has_no_counted_steps() -> None:
    _, known = step_progress(steps_of(STRAIGHT, BROKEN), np.array([True, False]), FOUR)
    assert known.any(-1).tolist() == [True, False]


class Generous:
    async def grade(self, evidence: Evidence) -> Score:
        return Score(4, "")


def test_infrastructure_failures_are_in_no_advantage_and_counted_separately() -> None:
    episodes = [STRAIGHT, HIDDEN, BROKEN, HIDDEN]
    judge = RunJudge(JudgeSettings(kind="chat"), Generous())
    scores = asyncio.run(score_update(episodes, [Task("shop", "task")] * 4, judge, print))
    rewards, counted = scores.rewards, scores.counted
    assert counted.tolist() == [True, False, False, False] and rewards[1:].tolist() == [0, 0, 0]
    metrics = rollout_metrics([*map(summarize, episodes)], rewards, counted, np.array([True]))
    names = ("secure_pages", "infrastructure_failures", "judge_outages")
    assert [metrics[name] for name in names] == [2, 1, 0]
    assert metrics["reward"] == pytest.approx(float(rewards[0]))


def test_step_advantages_use_all_steps_of_the_group() -> None:
    """The first turn of ASTRAY is wrong; three turns of STRAIGHT and four of ASTRAY are right."""
    progress, known = step_progress(steps_of(STRAIGHT, ASTRAY), np.ones(2, bool), 5)
    advantages, _ = group_advantages(progress.reshape(1, -1), known.reshape(1, -1), standardize=False)
    right, wrong = 1 / 8, -7 / 8
    expected = [[right, right, right, 0, 0], [wrong, right, right, right, right]]
    np.testing.assert_allclose(np.asarray(advantages).reshape(2, 5), expected, atol=1e-6)


def played(*advantages: float) -> tuple[Episode, np.ndarray]:
    """Return an episode with a turn for each advantage, and the advantages in a row of FOUR."""
    screenshot = Screenshot(draw(Screen("", 0, ()), (112, 224)))
    turns = tuple(Turn(screenshot, "", Completion((number,), (-1.0,))) for number in range(len(advantages)))
    prompts = tuple(f"prompt {number}" for number in range(len(turns)))
    row = np.zeros(FOUR)
    row[: len(advantages)] = advantages
    return Episode(Trajectory("", "", "", turns, Ending.SUCCESS, {}), prompts, (GARBAGE,) * len(turns)), row


def test_turns_keep_their_advantage_and_turns_without_one_are_left_out() -> None:
    episodes, rows = zip(played(0.5, 0.0, -0.25), played(0.0), strict=True)
    learnt = weighted_turns(episodes, np.stack(rows))
    assert [(one.prompt, [c.ids for c in one.completions], one.advantages) for one in learnt] == [
        ("prompt 0", [(0,)], [0.5]),
        ("prompt 2", [(2,)], [pytest.approx(-0.25)]),
    ]
