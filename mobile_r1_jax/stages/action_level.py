"""Stage 2: the policy learns to act right, by GRPO on single steps.

The history is golden; a group of answers to one step is sampled and scored by rule against the golden next action. The
vision encoder is frozen [paper].
"""

from typing import Any

import jax
import numpy as np

from data_pipelines.steps import StepTable, stream_steps
from mobile_r1_jax.agent.responses import parse_response
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.sharding import sampling_copy
from mobile_r1_jax.rewards.action import Golden, step_reward
from mobile_r1_jax.rl import group_advantages
from mobile_r1_jax.sampling.sampler import sample
from mobile_r1_jax.stages.context import Answered, Context, micro_batches
from mobile_r1_jax.stages.declaration import stage_of
from mobile_r1_jax.stages.loop import Made, train
from mobile_r1_jax.training.state import TrainState


async def run(context: Context, policy: Policy, steps: StepTable) -> Policy:
    """Trains `policy` on the annotated steps' rewards; returns what came out of it."""
    settings, temperature = context.run.action_level, context.run.temperature
    stage = stage_of("action_level", context.run)
    cache = context.screen_cache(policy)
    stream = iter(stream_steps(steps, context.speaker.tokenizer, seed=context.run.seed + 1))
    sampling = context.sampling(temperature)

    async def make_batches(state: TrainState, update: int, position: dict[str, Any]) -> Made:
        if update and position != stream.get_state():
            stream.set_state(position)
        golden = [next(stream) for _ in range(settings.prompts)]
        # As in training, prompts of like length stand together: less padding, and less waiting for the longest answer.
        golden.sort(key=lambda step: len(step.prompt.ids))
        starts = range(0, settings.prompts, settings.micro_batch)
        keys = jax.random.split(context.key(2, update), (len(starts), settings.micro_batch))
        policy, sampled = sampling_copy(state.policy), []
        for start, some_keys in zip(starts, keys, strict=True):
            some = [step.prompt for step in golden[start : start + settings.micro_batch]]
            screens, prompts = context.collate(some, settings.micro_batch, cache)
            sampled.append(sample(policy, screens, prompts, some_keys, group=settings.group, sampling=sampling))
        del policy  # before the update needs its memory
        samples = jax.tree.map(lambda *parts: np.concatenate(parts)[: settings.prompts], *jax.device_get(sampled))
        ids, mask = samples.ids, samples.mask
        rewards = np.zeros(ids.shape[:2], np.float32)
        for row, step in enumerate(golden):
            for member in range(settings.group):
                text = context.speaker.tokenizer.decode(ids[row, member, mask[row, member]], skip_special_tokens=True)
                answer = parse_response(text, step.prompt.frame)
                rewards[row, member] = step_reward(answer, Golden(step.action, step.box), settings.rules)

        def each(values: np.ndarray, row: int) -> list[np.ndarray]:
            """Of every completion of the row's prompt, its own tokens' values."""
            return [values[row, member, mask[row, member]] for member in range(settings.group)]

        advantages, informative = map(np.asarray, group_advantages(rewards, np.ones_like(rewards, bool)))
        answered = [
            Answered(
                golden[row].prompt,
                each(ids, row),
                each(samples.logps, row),
                advantages[row],
                None if samples.truncated_logps is None else each(samples.truncated_logps, row),
            )
            for row in np.flatnonzero(informative)
        ]
        metrics = {
            "reward": float(rewards.mean()),
            "action_right": float((rewards == 2).mean()),
            "format_right": float((rewards >= 1).mean()),
            "zero_variance_groups": float((~informative).sum()),
            "response_tokens": float(mask.sum(-1).mean()),
        }
        return Made(
            micro_batches(context, answered, settings.micro_batch, settings.group, cache), metrics, stream.get_state()
        )

    return await train(context, stage, policy, make_batches)
