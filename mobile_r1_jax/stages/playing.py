"""The episodes of one task-level update: every host plays its share, and all hosts learn how they went."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobile_r1_jax.evaluation.summary import Summary, summarize, summary_from_json
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.phones.fleet import Fleet
from mobile_r1_jax.rewards.judges.judge import Judge, JudgeOutage, task_reward
from mobile_r1_jax.rollouts.agent import Agent
from mobile_r1_jax.rollouts.episodes import Episode, run_episodes
from mobile_r1_jax.rollouts.records import Records
from mobile_r1_jax.rollouts.replay import begin_update, last_stored, store_update, stored_episodes
from mobile_r1_jax.run_directory import all_folders, left_folders
from mobile_r1_jax.runtime.hosts import Hosts
from mobile_r1_jax.sampling.screen_cache import ScreenCache
from mobile_r1_jax.session import Session
from mobile_r1_jax.tasks.task import Task

NAME = "task_level"  # of the folder of trajectories


@dataclass(frozen=True)
class OwnEpisodes:
    """The episodes of an update that this host played. numbers: theirs among those of all hosts.

    rewards [N] float32. counted [N] bool: whether an episode has a reward. usage: metrics of the sampling engine; empty
    if the episodes were stored before.
    """

    numbers: range
    episodes: Sequence[Episode]
    rewards: np.ndarray
    counted: np.ndarray
    usage: dict[str, float]

    def tell_all(self, hosts: Hosts) -> tuple[list[Summary], np.ndarray, np.ndarray]:
        """Return the summaries, rewards and `counted` of the episodes of all hosts, in the order of their numbers."""
        own = [
            {"reward": float(reward), "counted": bool(counted)} | summarize(episode).as_json()
            for episode, reward, counted in zip(self.episodes, self.rewards, self.counted, strict=True)
        ]
        rows = [row for part in hosts.gather("episodes", own) for row in part]
        rewards = np.array([row["reward"] for row in rows], np.float32)
        return list(map(summary_from_json, rows)), rewards, np.array([row["counted"] for row in rows], bool)


async def play_own(
    session: Session,
    policy: Policy,
    fleet: Fleet[Any],
    judge: Judge,
    records: Records,
    cache: ScreenCache,
    tasks: Sequence[Task],
    *,
    step: int,
    seed: int,
) -> OwnEpisodes:
    """Play this host's share of an update's tasks and store the episodes, or take those that a killed run has stored.

    All hosts call it together. Raise asyncio.CancelledError on all of them when one was told to stop."""
    hosts, numbers = session.hosts, session.hosts.share(len(tasks))
    own, folder = {index: tasks[index] for index in numbers}, records.folder / hosts.folder(NAME)
    folders = sorted({folder, *all_folders(records.folder / NAME)})
    stored = stored_episodes(folders, step, own, session.prompt_format) if step <= last_stored(folders) else None
    if all(hosts.gather("stored", stored is not None)):
        episodes = list(stored.values())
        return OwnEpisodes(numbers, episodes, *await hosts.until_stop(score(episodes, judge)), {})
    for other in left_folders(records.folder / NAME, hosts.count) if hosts.first else ():
        begin_update(other, step, {})
        store_update(records, other, step, {}, [])  # nothing: the hosts that are there repeat this update
    begin_update(folder, step, own)
    with session.sampler(policy) as copy:
        engine = session.engine(copy, session.run.temperature, cache)

        async def play() -> tuple[list[Episode], np.ndarray, np.ndarray]:
            others = set(range(len(tasks))) - set(numbers)
            async with engine:
                agent, most_turns = Agent(engine, session.prompt_format), session.run.phones.most_turns
                played = await run_episodes(fleet, tasks, agent, most_turns=most_turns, seed=seed, done=others)
            return played, *await score(played, judge)

        episodes, rewards, counted = await hosts.until_stop(play())
    store_update(records, folder, step, dict(zip(numbers, episodes, strict=True)), rewards)
    return OwnEpisodes(numbers, episodes, rewards, counted, engine.usage.as_metrics())


async def score(episodes: Sequence[Episode], judge: Judge) -> tuple[np.ndarray, np.ndarray]:
    """Return (rewards [N] float32, counted [N] bool); not counted: an episode that a phone ended or no judge graded."""
    rewards, counted = np.zeros(len(episodes), np.float32), np.zeros(len(episodes), bool)
    judged = await asyncio.gather(*(asyncio.to_thread(judge.score, episode.trajectory) for episode in episodes))
    for index, (episode, grade) in enumerate(zip(episodes, judged, strict=True)):
        if not episode.trajectory.ending.tells_of_policy or isinstance(grade, JudgeOutage):
            continue
        rewards[index], counted[index] = task_reward(grade, episode.answers), True
    return rewards, counted
