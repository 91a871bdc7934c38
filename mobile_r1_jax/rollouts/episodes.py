"""Episodes: the policy operates a phone, turn by turn, until it ends the task or runs out of steps.

Many episodes run at once, one on each phone. The sampling engine batches their requests for responses.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

from mobile_r1_jax.agent.actions import Malformed, Terminate
from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.agent.progress import Progress
from mobile_r1_jax.agent.prompts import PastTurn, Prompt
from mobile_r1_jax.agent.responses import Response
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, Turn
from mobile_r1_jax.phones.fleet import Fleet, InfrastructureFailure, LeasedPhone
from mobile_r1_jax.phones.phone import Decision, SecurePage
from mobile_r1_jax.rollouts.agent import Agent
from mobile_r1_jax.rollouts.failures import Failure
from mobile_r1_jax.tasks.task import Task

log = logging.getLogger(__name__)

OnTurn = Callable[[Turn, Response | Malformed], None]
MOST_MALFORMED = 3  # this many malformed responses in a row end the episode [ours]


@dataclass(frozen=True)
class Episode:
    """A finished trajectory, and the data for training and evaluation that the schema does not hold.

    prompts, answers: one per turn. progress: before each turn and at the end; empty if the phone does not report it.
    failure: why the phone ended it, if the ending is an infrastructure failure or a secure page, else None. decisions:
    a guard's refusals, and permissions by a person or the task, each with the number of its turn, from 0.
    """

    trajectory: Trajectory
    prompts: tuple[Prompt, ...]
    answers: tuple[Response | Malformed, ...]
    progress: tuple[Progress, ...] = ()
    failure: Failure | None = None
    decisions: tuple[tuple[int, Decision], ...] = ()

    @property
    def made_progress(self) -> tuple[bool, ...]:
        """Return for each turn whether it made progress, or ended a task that was done. A pop-up that opens
        does not count against a turn."""
        distances = [progress.remaining - progress.shortest for progress in self.progress]
        steps = [after < before for before, after in pairwise(distances)]
        if steps and isinstance(self.answers[-1], Response) and isinstance(self.answers[-1].action, Terminate):
            steps[-1] = self.trajectory.ending is Ending.SUCCESS
        return tuple(steps)

    @property
    def claimed(self) -> bool:
        """Return whether the policy claimed success."""
        last = self.answers[-1] if self.answers else None
        return isinstance(last, Response) and isinstance(last.action, Terminate) and last.action.status == "success"

    @property
    def outcome(self) -> Outcome:
        """Return whether the task is done, by a verifier."""
        return self.trajectory.outcome

    @property
    def off_path(self) -> bool:
        """Return whether a turn before the last made no progress: a wrong step, or a pop-up that opened."""
        return any(after.remaining >= before.remaining for before, after in pairwise(self.progress[:-1]))


async def run_episode(
    phone: LeasedPhone[Any], task: Task, agent: Agent, *, most_turns: int, rng: Random, on_turn: OnTurn | None = None
) -> Episode:
    """Reset the phone to the task, let the agent operate it, and return the episode.

    A verifier decides the outcome: the phone's state or the task's checks. A failing phone ends the episode as an
    infrastructure failure, a page that forbids screenshots as a secure page. A malformed response takes a turn and
    performs no action. on_turn: called with each finished turn. Raise PhonesUnavailable when no phone is usable any
    more."""
    played = _Played()
    ending, failure, outcome, is_reset = Ending.OUT_OF_STEPS, None, Outcome.UNKNOWN, False
    try:
        await phone.reset(task)
        is_reset = True
        played.progress.append(await phone.progress())
        ending = await _play(phone, task, agent, played, most_turns, rng, on_turn)
        last = played.progress[-1]
        outcome = await phone.outcome(task) if last is None else Outcome.DONE if last.done else Outcome.NOT_DONE
    except SecurePage as error:
        ending = Ending.SECURE_PAGE
        words = "a page forbids screenshots", str(error)
        failure = Failure(*words, len(played.turns), played.text, tuple(phone.phone.transcript()))
    except InfrastructureFailure as error:
        ending = Ending.INFRASTRUCTURE_FAILURE
        failure = Failure(error.reason, str(error), len(played.turns), played.text, error.transcript)
        number = len(played.turns)
        log.warning("episode of %r ends in turn %d, by no fault of the policy: %s", task.instruction, number, error)
    if is_reset:
        with suppress(InfrastructureFailure):  # the reset to the next task handles what is left behind
            await phone.clean_up(task)
    if ending is Ending.CLAIMED and outcome is not Outcome.UNKNOWN:
        ending = Ending.SUCCESS if outcome is Outcome.DONE else Ending.FAILURE
    known = tuple(reported for reported in played.progress if reported is not None)
    turns, end = tuple(played.turns), known[-1] if known else None
    record = (task.instruction, task.app, agent.system(task), turns, ending, {}, task.id, outcome, end)
    trajectory, decisions = Trajectory(*record), tuple(played.decisions)
    return Episode(trajectory, tuple(played.prompts), tuple(played.answers), known, failure, decisions)


@dataclass
class _Played:
    """An episode so far. text: the last response, also if its turn is not complete."""

    turns: list[Turn] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    answers: list[Response | Malformed] = field(default_factory=list)
    progress: list[Progress | None] = field(default_factory=list)
    decisions: list[tuple[int, Decision]] = field(default_factory=list)
    text: str = ""


async def _play(
    phone: LeasedPhone[Any],
    task: Task,
    agent: Agent,
    played: _Played,
    most_turns: int,
    rng: Random,
    on_turn: OnTurn | None,
) -> Ending:
    """Play up to `most_turns` turns into `played`. Return how the policy ended the episode; a claim is not verified."""
    history: list[PastTurn] = []
    for _ in range(most_turns):
        screenshot = await phone.screenshot()
        answer = await agent.answer(task, history, screenshot, rng.getrandbits(32))
        response, played.text = answer.response, answer.text
        try:
            effect = response.reason if isinstance(response, Malformed) else await phone.perform(response.action)
        finally:  # also if the phone then fails
            new = phone.decisions[len(played.decisions) :]
            played.decisions += [(len(played.turns), decision) for decision in new]
        played.turns.append(Turn(screenshot, answer.text, answer.completion, effect=effect))
        played.prompts.append(answer.prompt)
        played.answers.append(response)
        history.append(PastTurn(screenshot, answer.completion.ids, effect))
        played.progress.append(await phone.progress())
        if on_turn:
            on_turn(played.turns[-1], response)
        if isinstance(response, Response) and isinstance(response.action, Terminate):
            return Ending.CLAIMED if response.action.status == "success" else Ending.GAVE_UP
        last = played.answers[-MOST_MALFORMED:]
        if len(last) == MOST_MALFORMED and all(isinstance(other, Malformed) for other in last):
            return Ending.FAILURE
    return Ending.OUT_OF_STEPS


async def run_episodes(
    fleet: Fleet[Any],
    tasks: Sequence[Task],
    agent: Agent,
    *,
    most_turns: int,
    seed: int,
    done: Collection[int] = (),
    on_finished: Callable[[int, Episode], None] = lambda index, episode: None,
) -> list[Episode]:
    """Run an episode for each task, as many at once as there are phones; return them in the order of the tasks.

    done: indices of tasks that are left out. on_finished: called with the index and the episode as soon as it is
    finished. The same policy, tasks and `seed` give the same episodes on simulated phones, independent of the speed of
    each phone."""

    async def play(index: int, task: Task) -> Episode:
        rng = Random(f"{seed}/{index}")
        async with fleet.lease() as phone:
            episode = await run_episode(phone, task, agent, most_turns=most_turns, rng=rng)
        on_finished(index, episode)
        return episode

    playing = [asyncio.create_task(play(index, task)) for index, task in enumerate(tasks) if index not in done]
    try:
        return await asyncio.gather(*playing)
    finally:  # after an error in one episode, cancel the others
        for episode in playing:
            episode.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
