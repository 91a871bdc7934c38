"""Phones, and episodes that are played on them from a script."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from scripted import (
    RESIZING,
    SIZE,
    SYSTEM,
    Play,
    Script,
)
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mobile_r1_jax.agent.prompts import PromptFormat
from mobile_r1_jax.phones.fleet import Fleet, Retries
from mobile_r1_jax.phones.providers.simulated import SimulatedPhone, simulated_fleet
from mobile_r1_jax.rollouts.agent import Agent
from mobile_r1_jax.rollouts.episodes import Episode, run_episodes
from mobile_r1_jax.tasks.task import Task
from tools.base_policy.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return PreTrainedTokenizerFast(tokenizer_object=train_tokenizer(), eos_token="<|im_end|>")


@pytest.fixture(scope="module")
def phones() -> Iterator[tuple[SimulatedPhone, ...]]:
    with simulated_fleet(3, SIZE, seed=0) as phones:
        yield phones


@pytest.fixture
def play(tokenizer: PreTrainedTokenizerBase, phones: tuple[SimulatedPhone, ...]) -> Play:
    def run(
        tasks: Sequence[Task],
        lines: Sequence[Sequence[str]],
        *,
        on: Sequence[Any] = phones,
        most_turns: int = 12,
        retries: Retries = Retries(calls=0, revivals=0, pause=0.01),  # noqa: B008
        at: Mapping[int, Callable[[], None]] = {},
    ) -> list[Episode]:
        run.script = Script(tokenizer, {task.instruction: said for task, said in zip(tasks, lines, strict=True)})
        run.script.at = dict(at)
        run.finished = []

        async def inside() -> list[Episode]:
            async with Fleet(on, retries) as fleet:
                prompt_format = PromptFormat(tokenizer, SYSTEM, RESIZING)
                return await run_episodes(
                    fleet,
                    tasks,
                    Agent(run.script, prompt_format),
                    most_turns=most_turns,
                    seed=7,
                    on_finished=lambda index, episode: run.finished.append(episode),
                )

        return asyncio.run(inside())

    return run
