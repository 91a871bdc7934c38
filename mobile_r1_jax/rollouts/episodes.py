"""Episodes: the policy operates a phone, turn by turn, until it ends the task or runs out of steps.

Many run at once, one phone each; their requests for a next response meet in the sampling engine.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any

from mobile_r1_jax.agent.actions import Malformed, Terminate
from mobile_r1_jax.agent.prompts import Past, Prompt, PromptFormat, system_text
from mobile_r1_jax.agent.responses import Response, parse_response
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, Turn
from mobile_r1_jax.phones.fleet import Fleet, InfrastructureFailure, LeasedPhone
from mobile_r1_jax.sampling.engine import Engine
from mobile_r1_jax.tasks.task import Progress, Task

log = logging.getLogger(__name__)

MOST_MALFORMED = 3  # so many responses in a row that do not parse end the episode (our choice)


@dataclass(frozen=True)
class Episode:
    """A finished trajectory, with what training and evaluation need of it beyond the schema.

    prompts, answers: one per turn. progress: before each turn, and at the end; empty where the phone cannot tell.
    failure: why the phone failed, if the ending is an infrastructure failure.
    """

    trajectory: Trajectory
    prompts: tuple[Prompt, ...]
    answers: tuple[Response | Malformed, ...]
    progress: tuple[Progress, ...] = ()
    failure: str = ""

    @property
    def made_progress(self) -> tuple[bool, ...]:
        """Per turn: was it a step to the goal, or the end of a task that was done? A pop-up that opens is no fault."""
        left = [at.remaining - at.shortest for at in self.progress]
        steps = [after < before for before, after in pairwise(left)]
        if steps and isinstance(self.answers[-1], Response) and isinstance(self.answers[-1].action, Terminate):
            steps[-1] = self.trajectory.ending is Ending.SUCCESS
        return tuple(steps)

    @property
    def off_path(self) -> bool:
        """Whether some turn before the last left the phone no nearer: a wrong step, or a pop-up that opened."""
        return any(after.remaining >= before.remaining for before, after in pairwise(self.progress[:-1]))


async def run_episode(
    phone: LeasedPhone[Any], task: Task, engine: Engine, prompt_format: PromptFormat, *, most_turns: int, rng: Random
) -> Episode:
    """Resets the phone to the task and lets the policy operate it.

    A phone that fails ends the episode as an infrastructure failure; a response that does not parse costs a turn and
    leaves the phone alone. Raises PhonesUnavailable where no phone can be used any more."""
    system = system_text(prompt_format.system, task.instruction)
    turns: list[Turn] = []
    prompts: list[Prompt] = []
    answers: list[Response | Malformed] = []
    progress: list[Progress | None] = []
    ending, failure = Ending.OUT_OF_STEPS, ""
    try:
        await phone.reset(task)
        progress.append(await phone.progress())
        past: list[Past] = []
        for _ in range(most_turns):
            screenshot = await phone.screenshot()
            prompt = prompt_format.prompt(system, past[-most_turns:], screenshot)
            completion = await engine.sample(prompt, rng.getrandbits(32))
            text = prompt_format.text(completion.ids)
            answer = parse_response(text, prompt.frame)
            effect = answer.reason if isinstance(answer, Malformed) else await phone.perform(answer.action)
            turns.append(Turn(screenshot, text, completion, effect=effect))
            prompts.append(prompt)
            answers.append(answer)
            past.append(Past(screenshot, completion.ids))
            progress.append(await phone.progress())
            if isinstance(answer, Response) and isinstance(answer.action, Terminate):
                ending = Ending.GAVE_UP
                if answer.action.status == "success":
                    ending = Ending.SUCCESS if progress[-1] is None or progress[-1].done else Ending.FAILURE
                break
            if len(answers) >= MOST_MALFORMED and all(
                isinstance(last, Malformed) for last in answers[-MOST_MALFORMED:]
            ):
                ending = Ending.FAILURE
                break
    except InfrastructureFailure as error:
        ending, failure = Ending.INFRASTRUCTURE_FAILURE, str(error)
        log.warning("episode of %r ends in turn %d, by no fault of the policy: %s", task.instruction, len(turns), error)
    known = tuple(at for at in progress if at is not None)
    scores = known[-1].as_scores() if known else {}
    trajectory = Trajectory(task.instruction, task.app, system, tuple(turns), ending, scores, task.id)
    return Episode(trajectory, tuple(prompts), tuple(answers), known, failure)


async def run_episodes(
    fleet: Fleet[Any],
    tasks: Sequence[Task],
    engine: Engine,
    prompt_format: PromptFormat,
    *,
    most_turns: int,
    seed: int,
    finished: Callable[[Episode], None] = lambda episode: None,
) -> list[Episode]:
    """An episode for each task, as many at once as there are phones; `finished` hears of each. In the tasks' order.

    The same policy, tasks and `seed` give the same episodes on simulated phones, whichever phone is how fast."""

    async def one(index: int, task: Task) -> Episode:
        rng = Random(f"{seed}/{index}")
        async with fleet.lease() as phone:
            episode = await run_episode(phone, task, engine, prompt_format, most_turns=most_turns, rng=rng)
        finished(episode)
        return episode

    playing = [asyncio.create_task(one(index, task)) for index, task in enumerate(tasks)]
    try:
        return await asyncio.gather(*playing)
    finally:  # after an error in one, none goes on
        for episode in playing:
            episode.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
