"""The grades of an update's episodes, and the scores for the update."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mobile_r1_jax.evaluation.agreement import Grade, measure_agreement, usage_metrics
from mobile_r1_jax.rewards.judges.choice import RunJudge, known_score
from mobile_r1_jax.rewards.judges.gathering import gather_or_cancel
from mobile_r1_jax.rewards.judges.judge import Evidence, Judge, JudgeError, JudgeOutage, Score, Usage, task_reward
from mobile_r1_jax.rewards.judges.settings import JudgeSettings
from mobile_r1_jax.rollouts.episodes import Episode
from mobile_r1_jax.tasks.task import Task

Steps = tuple[bool | None, ...]  # for each turn: whether it made progress; None: not known


@dataclass(frozen=True)
class Scores:
    """The scores of N episodes.

    rewards: float32 [N]. counted: bool [N], False for an episode that a phone ended or no judge graded. steps: for each
    episode, empty if none is known. metrics: the judge's usage, and its agreement with known outcomes.
    """

    rewards: np.ndarray
    counted: np.ndarray
    steps: list[Steps]
    metrics: dict[str, float]


async def score_update(
    episodes: Sequence[Episode], tasks: Sequence[Task], judge: RunJudge, say: Callable[[str], None]
) -> Scores:
    """Return the scores of episodes of these tasks. Waits, and raises, as `score_episodes`."""
    evidence = [
        Evidence(episode.trajectory, episode.answers, task.steps) for episode, task in zip(episodes, tasks, strict=True)
    ]
    grades = await score_episodes(evidence, judge, judge.settings, say)
    judged = await gather_or_cancel(map(judge_steps, episodes, evidence, grades, [judge] * len(episodes)))
    rewards, counted = np.zeros(len(episodes), np.float32), np.zeros(len(episodes), bool)
    for row, (episode, grade) in enumerate(zip(episodes, grades, strict=True)):
        if isinstance(grade, Score):
            rewards[row], counted[row] = task_reward(grade, episode.answers), True
    agreement = measure_agreement(grades, [known_score(one) for one in evidence])
    usage = sum((usage for _, usage in judged), Usage())
    return Scores(
        rewards, counted, [steps for steps, _ in judged], usage_metrics(grades, usage) | agreement.as_metrics()
    )


async def score_episodes(
    evidence: Sequence[Evidence], judge: Judge, settings: JudgeSettings, say: Callable[[str], None]
) -> list[Grade]:
    """Return a grade for each episode; None if a phone ended it: such an episode is not judged.

    If more than the share `lost` has no grade, wait and ask again, with doubled pauses and a line about each wait: the
    other episodes alone would be a biased choice. Raises JudgeError in one line if waiting cannot help, because the
    judge lacks its input for so many episodes.
    """
    grades: list[Grade] = [None] * len(evidence)
    asked = [row for row, one in enumerate(evidence) if one.trajectory.ending.depends_on_policy]
    most, waiting, pause = settings.lost * len(asked), asked, settings.pause_s
    while True:
        graded = await gather_or_cancel(judge.grade(evidence[row]) for row in waiting)
        for row, grade in zip(waiting, graded, strict=True):
            grades[row] = grade
        lost = {row: grade for row in asked if isinstance(grade := grades[row], JudgeOutage)}
        if len(lost) <= most:
            return grades
        waiting = [row for row, outage in lost.items() if not outage.lasting]
        reason = lost[waiting[0] if waiting else min(lost)].reason
        words = f"{len(lost)} of {len(asked)} episodes have no grade: {reason}"
        if len(lost) - len(waiting) > most:
            raise JudgeError(f"{words}. Choose another judge with --judge.kind, or raise judge.lost")
        pause = min(pause, settings.longest_pause_s)
        say(f"{words}. Asking again in {pause:g} s")
        await asyncio.sleep(pause)
        pause *= 2


async def judge_steps(episode: Episode, evidence: Evidence, grade: Grade, judge: RunJudge) -> tuple[Steps, Usage]:
    """Return for each turn whether it made progress, and the usage.

    The phone's progress decides. Without progress, or if the run's judge is a chat judge, the step judge decides, if
    the run has one and the episode has a grade.
    """
    phone_decides = bool(episode.progress) and judge.settings.kind != "chat"
    if judge.steps is None or phone_decides or not isinstance(grade, Score):
        return episode.made_progress, Usage()
    return await judge.steps.judge(evidence, grade)
