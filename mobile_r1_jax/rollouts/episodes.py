"""Episodes: the policy operates a phone, turn by turn, until it ends the task or runs out of steps.

Many episodes run at once, one on each phone. The sampling engine batches their requests for responses.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any

from mobile_r1_jax.agent.actions import Malformed, Terminate
from mobile_r1_jax.agent.prompts import PastTurn, Prompt, PromptFormat, system_text
from mobile_r1_jax.agent.responses import Response, parse_response
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, Turn
from mobile_r1_jax.phones.fleet import Fleet, InfrastructureFailure, LeasedPhone
from mobile_r1_jax.phones.phone import SecurePage
from mobile_r1_jax.rollouts.failures import Failure
from mobile_r1_jax.sampling.engine import Engine
from mobile_r1_jax.tasks.task import Progress, Task

log = logging.getLogger(__name__)

MOST_MALFORMED = 3  # this many malformed responses in a row end the episode [ours]


@dataclass(frozen=True)
class Episode:
    """A finished trajectory, and the data for training and evaluation that the schema does not hold.

    prompts, answers: one per turn. progress: before each turn and at the end; empty if the phone does not report it.
    failure: why the phone ended it, if the ending is an infrastructure failure or a secure page, else None.
    """

    trajectory: Trajectory
    prompts: tuple[Prompt, ...]
    answers: tuple[Response | Malformed, ...]
    progress: tuple[Progress, ...] = ()
    failure: Failure | None = None

    @property
    def made_progress(self) -> tuple[bool, ...]:
        """Return for each turn whether it came nearer to the goal, or ended a task that was done. A pop-up that opens
        does not count against a turn."""
        distances = [progress.remaining - progress.shortest for progress in self.progress]
        steps = [after < before for before, after in pairwise(distances)]
        if steps and isinstance(self.answers[-1], Response) and isinstance(self.answers[-1].action, Terminate):
            steps[-1] = self.trajectory.ending is Ending.SUCCESS
        return tuple(steps)

    @property
    def off_path(self) -> bool:
        """Return whether a turn before the last made no progress: a wrong step, or a pop-up that opened."""
        return any(after.remaining >= before.remaining for before, after in pairwise(self.progress[:-1]))


async def run_episode(
    phone: LeasedPhone[Any], task: Task, engine: Engine, prompt_format: PromptFormat, *, most_turns: int, rng: Random
) -> Episode:
    """Reset the phone to the task, let the policy operate it, and return the episode.

    A failing phone ends the episode as an infrastructure failure, a page that forbids screenshots as a secure page. A
    malformed response takes a turn and performs no action. Raise PhonesUnavailable when no phone is usable any more."""
    system = system_text(prompt_format.system, task.instruction)
    turns: list[Turn] = []
    prompts: list[Prompt] = []
    answers: list[Response | Malformed] = []
    progress: list[Progress | None] = []
    ending, failure, text = Ending.OUT_OF_STEPS, None, ""
    try:
        await phone.reset(task)
        progress.append(await phone.progress())
        past: list[PastTurn] = []
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
            past.append(PastTurn(screenshot, completion.ids))
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
    except SecurePage as error:
        ending = Ending.SECURE_PAGE
        failure = Failure("a page forbids screenshots", str(error), len(turns), text, tuple(phone.phone.transcript()))
    except InfrastructureFailure as error:
        ending = Ending.INFRASTRUCTURE_FAILURE
        failure = Failure(error.reason, str(error), len(turns), text, error.transcript)
        log.warning("episode of %r ends in turn %d, by no fault of the policy: %s", task.instruction, len(turns), error)
    known = tuple(reported for reported in progress if reported is not None)
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
    on_finished: Callable[[Episode], None] = lambda episode: None,
) -> list[Episode]:
    """Run an episode for each task, as many at once as there are phones; return them in the order of the tasks.

    on_finished: called with each finished episode. The same policy, tasks and `seed` give the same episodes on
    simulated phones, independent of the speed of each phone."""

    async def play(index: int, task: Task) -> Episode:
        rng = Random(f"{seed}/{index}")
        async with fleet.lease() as phone:
            episode = await run_episode(phone, task, engine, prompt_format, most_turns=most_turns, rng=rng)
        on_finished(episode)
        return episode

    playing = [asyncio.create_task(play(index, task)) for index, task in enumerate(tasks)]
    try:
        return await asyncio.gather(*playing)
    finally:  # after an error in one episode, cancel the others
        for episode in playing:
            episode.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
