"""The episodes of one task-level update: every host plays its share, and all hosts learn how they went."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mobile_r1_jax.evaluation.summary import Summary, summarize, summary_from_json
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.phones.fleet import Fleet
from mobile_r1_jax.rewards.judges.choice import RunJudge
from mobile_r1_jax.rollouts.agent import Agent
from mobile_r1_jax.rollouts.episodes import Episode, run_episodes
from mobile_r1_jax.rollouts.records import Records
from mobile_r1_jax.rollouts.replay import begin_update, last_stored, store_update, stored_episodes
from mobile_r1_jax.run_directory import all_folders, left_folders
from mobile_r1_jax.runtime.console import say
from mobile_r1_jax.runtime.hosts import Hosts
from mobile_r1_jax.sampling.screen_cache import ScreenCache
from mobile_r1_jax.session import Session
from mobile_r1_jax.stages.scoring import Scores, Steps, score_update
from mobile_r1_jax.tasks.task import Task

NAME = "task_level"  # of the folder of trajectories


@dataclass(frozen=True)
class OwnEpisodes:
    """The episodes of an update that this host played. numbers: theirs among those of all hosts.

    usage: metrics of the sampling engine; empty if the episodes were stored before.
    """

    numbers: range
    episodes: Sequence[Episode]
    scores: Scores
    usage: dict[str, float]

    @property
    def metrics(self) -> dict[str, float]:
        """Return the metrics of this host's sampling engine and judge."""
        return self.usage | self.scores.metrics

    def tell_all(self, hosts: Hosts) -> tuple[list[Summary], np.ndarray, np.ndarray, list[Steps]]:
        """Return the summaries, rewards, `counted` and judged steps of the episodes of all hosts, by their numbers."""
        scores = self.scores
        own = [
            {"reward": float(reward), "counted": bool(counted), "steps": list(steps)} | summarize(episode).as_json()
            for episode, reward, counted, steps in zip(
                self.episodes, scores.rewards, scores.counted, scores.steps, strict=True
            )
        ]
        rows = [row for part in hosts.gather("episodes", own) for row in part]
        rewards = np.array([row["reward"] for row in rows], np.float32)
        counted = np.array([row["counted"] for row in rows], bool)
        return list(map(summary_from_json, rows)), rewards, counted, [tuple(row["steps"]) for row in rows]


async def play_own(
    session: Session,
    policy: Policy,
    fleet: Fleet[Any],
    judge: RunJudge,
    records: Records,
    cache: ScreenCache,
    tasks: Sequence[Task],
    *,
    step: int,
    seed: int,
) -> OwnEpisodes:
    """Play this host's share of an update's tasks and store the episodes, or take those that a killed run has stored.

    All hosts call it together. Raise asyncio.CancelledError on all of them when one is stopping."""
    hosts, numbers = session.hosts, session.hosts.share(len(tasks))
    own, folder = {index: tasks[index] for index in numbers}, records.folder / hosts.folder(NAME)
    own_tasks, tell = list(own.values()), partial(say, session.console)
    folders = sorted({folder, *all_folders(records.folder / NAME)})
    stored = stored_episodes(folders, step, own, session.prompt_format) if step <= last_stored(folders) else None
    if all(hosts.gather("stored", stored is not None)):
        episodes = list(stored.values())
        return OwnEpisodes(
            numbers, episodes, await hosts.until_stop(score_update(episodes, own_tasks, judge, tell)), {}
        )
    for other in left_folders(records.folder / NAME, hosts.count) if hosts.first else ():
        begin_update(other, step, {})
        store_update(records, other, step, {}, [])  # no episode: the present hosts repeat this update
    begin_update(folder, step, own)
    with session.sampler(policy) as copy:
        engine = session.engine(copy, session.run.temperature, cache)

        async def play() -> tuple[list[Episode], Scores]:
            others = set(range(len(tasks))) - set(numbers)
            async with engine:
                agent, most_turns = Agent(engine, session.prompt_format), session.run.phones.most_turns
                played = await run_episodes(fleet, tasks, agent, most_turns=most_turns, seed=seed, done=others)
            return played, await score_update(played, own_tasks, judge, tell)

        episodes, scores = await hosts.until_stop(play())
    store_update(records, folder, step, dict(zip(numbers, episodes, strict=True)), scores.rewards)
    return OwnEpisodes(numbers, episodes, scores, engine.usage.as_metrics())
