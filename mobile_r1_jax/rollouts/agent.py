"""The agent: history and screenshot in, response out. Training, evaluation and `act` share it."""

from collections.abc import Sequence
from dataclasses import dataclass

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.completion import Completion
from mobile_r1_jax.agent.prompts import PastTurn, Prompt, PromptFormat, system_text
from mobile_r1_jax.agent.responses import Response, parse_response
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.sampling.engine import Engine
from mobile_r1_jax.tasks.task import Task


@dataclass(frozen=True)
class Answer:
    """The agent's answer to one screenshot: the prompt, the sampled tokens, their text, and the parsed response."""

    prompt: Prompt
    completion: Completion
    text: str
    response: Response | Malformed


@dataclass(frozen=True)
class Agent:
    """A prompt format and a sampling engine."""

    engine: Engine
    prompt_format: PromptFormat

    def system(self, task: Task) -> str:
        """Return the system message of a task's prompts."""
        return system_text(self.prompt_format.system, task.instruction)

    async def answer(self, task: Task, history: Sequence[PastTurn], screenshot: Screenshot, seed: int) -> Answer:
        """Return the answer to a screenshot. `seed`, from 0 to 2**32 - 1, determines the samples."""
        prompt = self.prompt_format.prompt(self.system(task), history, screenshot)
        completion = await self.engine.sample(prompt, seed)
        text = self.prompt_format.text(completion.ids)
        return Answer(prompt, completion, text, parse_response(text, prompt.frame, self.prompt_format.actions))
