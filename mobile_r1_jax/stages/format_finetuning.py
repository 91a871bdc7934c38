"""Stage 1: the policy learns to answer in the right form, from annotated steps.

It sees the golden history and writes the golden next step: thought, action sentence and tool call. To the train step
this is a group of one completion with weight one.
"""

from typing import Any

from data_pipelines.steps import StepTable, stream_steps
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.stages.context import Answered, Context, micro_batches
from mobile_r1_jax.stages.declaration import stage_of
from mobile_r1_jax.stages.loop import Made, train
from mobile_r1_jax.training.state import TrainState


async def run(context: Context, policy: Policy, steps: StepTable) -> Policy:
    """Trains `policy` on the annotated steps; returns what came out of it."""
    settings, stage = context.run.format_finetuning, stage_of("format_finetuning", context.run)
    cache = context.screen_cache(policy) if "vision" in stage.frozen else None
    stream = iter(stream_steps(steps, context.speaker.tokenizer, seed=context.run.seed))

    async def make_batches(state: TrainState, update: int, position: dict[str, Any]) -> Made:
        if update and position != stream.get_state():
            stream.set_state(position)
        golden = [next(stream) for _ in range(settings.batch)]
        answered = [Answered(step.prompt, [step.response_ids], None, [1.0]) for step in golden]
        return Made(micro_batches(context, answered, settings.micro_batch, 1, cache), {}, stream.get_state())

    return await train(context, stage, policy, make_batches)
