"""Stage 2: the policy learns to choose the right action, by GRPO on single steps.

The history is golden. For each step a group of answers is sampled, and rules compare each answer with the golden next
action. The vision encoder is frozen [paper].
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from data_pipelines.steps import Step, StepTable, stream_steps
from mobile_r1_jax.agent.completion import Completion, PromptGroup
from mobile_r1_jax.agent.responses import parse_response
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.rewards.action import Golden, step_reward
from mobile_r1_jax.rl import group_advantages
from mobile_r1_jax.runtime.hosts import Hosts
from mobile_r1_jax.sampling.sampler import sample
from mobile_r1_jax.session import Session
from mobile_r1_jax.stages.declaration import stage_of
from mobile_r1_jax.stages.trainer import UpdateData, run_updates
from mobile_r1_jax.training.state import TrainState


async def train(session: Session, policy: Policy, steps: StepTable) -> Policy:
    """Train `policy` by the rewards of its answers to annotated steps; return the trained policy."""
    settings, temperature = session.run.action_level, session.run.temperature
    stage = stage_of("action_level", session.run)
    cache = session.screen_cache(policy)
    own = session.hosts.share(settings.prompts)
    stream = iter(
        stream_steps(
            steps,
            session.prompt_format.tokenizer,
            seed=session.run.seed + 1,
            wanted=lambda position: position % settings.prompts in own,
        )
    )
    sampling = session.sampling(temperature)
    rows = settings.micro_batch // session.hosts.count  # prompts that this host samples at once

    async def make_batches(state: TrainState, update: int, position: dict[str, Any]) -> UpdateData:
        if update and position != stream.get_state():
            stream.set_state(position)
        golden = [step for step in (next(stream) for _ in range(settings.prompts)) if isinstance(step, Step)]
        # Prompts of similar length are sampled together: less padding, and less waiting for the longest answer.
        golden.sort(key=lambda step: len(step.prompt.ids))
        places = places_of_all([len(step.prompt.ids) for step in golden], rows, session.hosts)
        starts = range(0, settings.prompts, settings.micro_batch)
        sampled = []
        with session.sampler(state.policy) as policy:
            keys = jax.random.split(session.key(2, update), (len(starts), settings.micro_batch)).reshape(-1)[places]
            for start in range(0, len(golden), rows):
                part = [step.prompt for step in golden[start : start + rows]]
                screens, prompts = session.collate(part, rows, cache)
                part_keys = keys[start : start + rows]
                sampled.append(sample(policy, screens, prompts, part_keys, group=settings.group, sampling=sampling))
            del policy  # the update needs its memory
        samples = jax.tree.map(lambda *parts: np.concatenate(parts)[: len(golden)], *jax.device_get(sampled))
        ids, mask = samples.ids, samples.mask
        rewards = np.zeros(ids.shape[:2], np.float32)
        for row, step in enumerate(golden):
            for member in range(settings.group):
                text = session.prompt_format.text(ids[row, member, mask[row, member]])
                answer = parse_response(text, step.prompt.frame, session.prompt_format.actions)
                rewards[row, member] = step_reward(answer, Golden(step.action, step.box), settings.rules)

        def completion(row: int, member: int) -> Completion:
            real = mask[row, member]
            truncated = samples.truncated_logps
            truncated = () if truncated is None else tuple(truncated[row, member, real])
            return Completion(tuple(ids[row, member, real]), tuple(samples.logps[row, member, real]), truncated)

        with session.on_own_devices():
            advantages, informative = map(np.asarray, group_advantages(rewards, np.ones_like(rewards, bool)))
        groups = [
            PromptGroup(
                golden[row].prompt,
                [completion(row, member) for member in range(settings.group)],
                advantages[row],
            )
            for row in np.flatnonzero(informative)
        ]
        metrics = answer_metrics(rewards, informative, mask.sum(-1), session.hosts)
        return UpdateData(
            session.batches(groups, settings.micro_batch, settings.group, cache), metrics, stream.get_state()
        )

    return await run_updates(session, stage, policy, make_batches)


def places_of_all(lengths: Sequence[int], rows: int, hosts: Hosts) -> np.ndarray:
    """Return the place of each own prompt among those of all hosts, sorted by length; padded to a multiple of `rows`.

    So the random numbers of a prompt do not depend on the number of hosts. lengths: ascending."""
    every = hosts.gather("lengths", list(lengths))
    places = np.argsort(np.argsort(np.concatenate(every), kind="stable"))
    start = sum(map(len, every[: hosts.index]))
    own = places[start : start + len(lengths)]
    return np.pad(own, (0, -len(own) % rows))


def answer_metrics(rewards: np.ndarray, informative: np.ndarray, tokens: np.ndarray, hosts: Hosts) -> dict[str, float]:
    """Return the metrics of the answers on all hosts, from this host's rewards and tokens [N, G], informative [N]."""
    every = hosts.gather("answers", [rewards.tolist(), informative.tolist(), tokens.tolist()])
    rewards, informative, tokens = (np.concatenate(parts) for parts in zip(*every, strict=True))
    return {
        "reward": float(rewards.astype(np.float32).mean()),
        "action_right": float((rewards == 2).mean()),
        "format_right": float((rewards >= 1).mean()),
        "zero_variance_groups": float((~informative).sum()),
        "response_tokens": float(tokens.mean()),
    }
