"""Stage 1: the policy learns the response format from annotated steps.

Its prompt has the golden history. Its target is the golden response: thought, action sentence and tool call. The train
step gets this as a group of one completion with weight one. If the data has no thought, the empty thought is a part of
the prompt, so that it carries no loss.
"""

from typing import Any

from data_pipelines.steps import Step, StepTable, stream_steps
from mobile_r1_jax.agent.completion import Completion, PromptGroup
from mobile_r1_jax.agent.prompts import extend_prompt
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.session import Session
from mobile_r1_jax.stages.declaration import stage_of
from mobile_r1_jax.stages.trainer import UpdateData, run_updates
from mobile_r1_jax.training.state import TrainState


def golden_group(step: Step) -> PromptGroup:
    """Return a step as a prompt with one completion, the response from its first part that is not empty."""
    start, target = step.response_ids[: step.unlearned], step.response_ids[step.unlearned :]
    return PromptGroup(extend_prompt(step.prompt, start) if start else step.prompt, [Completion(target)], [1.0])


async def train(session: Session, policy: Policy, steps: StepTable) -> Policy:
    """Train `policy` on the annotated steps; return the trained policy."""
    settings, stage = session.run.format_finetuning, stage_of("format_finetuning", session.run)
    cache = session.screen_cache(policy) if "vision" in stage.frozen else None
    own = session.hosts.share(settings.batch)
    stream = iter(
        stream_steps(
            steps,
            session.prompt_format.tokenizer,
            seed=session.run.seed,
            wanted=lambda position: position % settings.batch in own,
        )
    )

    async def make_batches(state: TrainState, update: int, position: dict[str, Any]) -> UpdateData:
        if update and position != stream.get_state():
            stream.set_state(position)
        golden = [step for step in (next(stream) for _ in range(settings.batch)) if isinstance(step, Step)]
        groups = [golden_group(step) for step in golden]
        return UpdateData(session.batches(groups, settings.micro_batch, 1, cache), {}, stream.get_state())

    return await run_updates(session, stage, policy, make_batches)
