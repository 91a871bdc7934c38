"""Stage 3: the policy learns to finish tasks, by GRPO over whole trajectories on live phones.

For each task a group of episodes is played. The reward of an episode is the judge's score plus its mean format reward.
All tokens of all its turns get its advantage within the group. A turn may add an advantage of its own, for the progress
of its step. The vision encoder is frozen [paper].
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mobile_r1_jax.agent.completion import PromptGroup
from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.agent.trajectory import Ending
from mobile_r1_jax.evaluation.summary import Summary
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.phones.fleet import Fleet
from mobile_r1_jax.rewards.judges.choice import RunJudge
from mobile_r1_jax.rl import group_advantages
from mobile_r1_jax.rollouts.episodes import Episode
from mobile_r1_jax.rollouts.records import Records
from mobile_r1_jax.session import Session
from mobile_r1_jax.stages.declaration import stage_of
from mobile_r1_jax.stages.own_episodes import play_own
from mobile_r1_jax.stages.scoring import Steps
from mobile_r1_jax.stages.trainer import UpdateData, run_updates
from mobile_r1_jax.tasks.suite import Split
from mobile_r1_jax.training.batches import merge_equal_prompts
from mobile_r1_jax.training.state import TrainState


async def train(session: Session, policy: Policy, fleet: Fleet[Any], judge: RunJudge, records: Records) -> Policy:
    """Train `policy` by the rewards of its own episodes; return the trained policy."""
    settings, hosts = session.run.task_level, session.hosts
    stage = stage_of("task_level", session.run)
    cache = session.screen_cache(policy)

    async def make_batches(state: TrainState, update: int, position: dict[str, Any]) -> UpdateData:
        seed = session.run.seed * 1_000_003 + update
        tasks = session.tasks.draw(settings.tasks, seed, Split.TRAIN)
        tasks = [task for task in tasks for _ in range(settings.group)]
        own = await play_own(session, state.policy, fleet, judge, records, cache, tasks, step=update + 1, seed=seed)
        episodes, rewards, counted, judged = own.tell_all(hosts)

        def compare(values: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """Return the advantages within each task's group, as `values`, and whether each group is informative."""
            groups = (part.reshape(settings.tasks, -1) for part in (values, counted))
            with session.on_own_devices():
                advantages, informative = group_advantages(*groups, standardize=settings.standardize)
            return np.asarray(advantages).reshape(values.shape), np.asarray(informative)

        advantages, informative = compare(rewards, counted)
        steps, _ = compare(*step_progress(judged, counted, session.run.phones.most_turns))
        advantages = (advantages[:, None] + settings.step_weight * steps)[list(own.numbers)]
        groups = merge_equal_prompts(weighted_turns(own.episodes, advantages), settings.group)
        metrics = rollout_metrics(episodes, rewards, counted, informative) | own.metrics
        return UpdateData(session.batches(groups, settings.micro_batch, settings.group, cache), metrics, {})

    return await run_updates(session, stage, policy, make_batches)


def step_progress(judged: Sequence[Steps], counted: np.ndarray, most_turns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ([N, T] float32: 1 for a turn that made progress, else 0; [N, T] bool: whether that is known).

    judged: the steps of each episode. Only those of counted [N] bool episodes are known."""
    progress, known = np.zeros((len(judged), most_turns), np.float32), np.zeros((len(judged), most_turns), bool)
    for row in np.flatnonzero(counted):
        steps = judged[row]
        progress[row, : len(steps)] = [step is True for step in steps]
        known[row, : len(steps)] = [step is not None for step in steps]
    return progress, known


def weighted_turns(episodes: Sequence[Episode], advantages: np.ndarray) -> list[PromptGroup]:
    """Return every turn whose advantage [N, T] is not 0, as a prompt with one completion."""
    return [
        PromptGroup(prompt, [turn.completion], [float(advantage)])
        for episode, row in zip(episodes, advantages, strict=True)
        for prompt, turn, advantage in zip(episode.prompts, episode.trajectory.turns, row, strict=False)
        if advantage != 0
    ]


def rollout_metrics(
    episodes: Sequence[Summary], rewards: np.ndarray, counted: np.ndarray, informative: np.ndarray
) -> dict[str, float]:
    """Return the metrics of the episodes of an update, on all hosts."""
    turns = sum(episode.turns for episode in episodes)
    endings = [episode.ending for episode in episodes]
    unknown = sum(e.outcome is Outcome.UNKNOWN and e.ending.depends_on_policy for e in episodes)
    by_phones = sum(not ending.depends_on_policy for ending in endings)
    return {
        "reward": float(rewards[counted].mean()) if counted.any() else float("nan"),
        "success": endings.count(Ending.SUCCESS) / len(endings),
        "claimed": sum(episode.claimed for episode in episodes) / len(episodes),
        "unknown_outcomes": float(unknown),
        "turns": turns / len(episodes),
        "format_errors": sum(episode.format_errors for episode in episodes) / max(1, turns),
        "zero_variance_groups": float((~informative).sum()),
        "infrastructure_failures": float(endings.count(Ending.INFRASTRUCTURE_FAILURE)),
        "secure_pages": float(endings.count(Ending.SECURE_PAGE)),
        "judge_outages": float((~counted).sum() - by_phones),
    }
