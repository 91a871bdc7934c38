"""Where the sampling requests of many phones meet: they wait in one queue and are sampled together.

    phone 1 ── await engine.sample(prompt) ─┐
    phone 2 ── await engine.sample(prompt) ─┼─ queue ── up to `rows` prompts ── prefill, decode ── answers
    phone 3 ── await engine.sample(prompt) ─┘

Sampling runs in a thread of its own, so phones go on acting while the accelerator works.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import jax
import numpy as np

from mobile_r1_jax.agent.prompts import Prompt
from mobile_r1_jax.model.inputs import Prompts, Screens
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.sampling.sampler import Sampling, sample

GATHER_SECONDS = 0.004  # how long the first request waits for company


@dataclass(frozen=True)
class Sampled:
    """One completion: ids with the stop token (unless cut off), and their log-probabilities, both [C'] with C' <= C."""

    ids: tuple[int, ...]
    logps: tuple[float, ...]


@dataclass
class Usage:
    """What the engine has done since it was made."""

    batches: int = 0
    completions: int = 0
    tokens: int = 0
    rows: int = 0  # rows that were computed, padding included
    sampling_seconds: float = 0.0

    def as_metrics(self) -> dict[str, float]:
        """Share of rows in use, and tokens per second of sampling."""
        return {
            "row_use": self.completions / max(1, self.rows),
            "tokens_per_second": self.tokens / max(1e-9, self.sampling_seconds),
        }


Request = tuple[Prompt, int, asyncio.Future[Sampled]]
"""A prompt, its seed, and who waits for the answer."""


@dataclass
class Engine:
    """Use within one event loop, as `async with Engine(...) as engine`. `policy` may be replaced between requests.
    Requests that are still open when it is left are cancelled.

    collate: makes Screens and Prompts of up to `rows` prompts, padded to a declared bucket of rows.
    """

    policy: Policy
    collate: Callable[[Sequence[Prompt]], tuple[Screens, Prompts]]
    sampling: Sampling
    rows: int
    usage: Usage = field(default_factory=Usage)
    _waiting: list[Request] = field(default_factory=list)
    _open: set[asyncio.Future[Sampled]] = field(default_factory=set)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Engine":
        self._task = asyncio.create_task(self._serve())
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for future in tuple(self._open):  # whoever still waits would wait for ever
            future.cancel()

    async def sample(self, prompt: Prompt, seed: int) -> Sampled:
        """A completion of the prompt; the same prompt and seed (32 bits) give the same one, whatever else is sampled
        meanwhile. Raises what sampling raised, such as ValueError for a prompt too long."""
        future: asyncio.Future[Sampled] = asyncio.get_running_loop().create_future()
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        self._waiting.append((prompt, seed, future))
        self._wake.set()
        return await future

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            if len(self._waiting) < self.rows:
                await asyncio.sleep(GATHER_SECONDS)
            waiting = [request for request in self._waiting if not request[2].done()]  # the others were cancelled
            batch, self._waiting = waiting[: self.rows], waiting[self.rows :]
            if not self._waiting:
                self._wake.clear()
            if batch:
                await self._answer(batch)

    async def _answer(self, batch: Sequence[Request]) -> None:
        """Samples for all at once, or one by one where that fails: a prompt too long is its own caller's error."""
        try:
            answers = await asyncio.to_thread(self._sample, [(prompt, seed) for prompt, seed, _ in batch])
        except Exception as error:  # whatever it was, those who wait must hear of it
            if len(batch) > 1:
                for request in batch:
                    await self._answer([request])
            elif not batch[0][2].done():
                batch[0][2].set_exception(error)
        else:
            for (*_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

    def _sample(self, requests: Sequence[tuple[Prompt, int]]) -> list[Sampled]:
        began = time.perf_counter()
        prompts = [prompt for prompt, _ in requests]
        screens, rows = self.collate(prompts)
        seeds = np.zeros(rows.ids.shape[0], np.uint32)
        seeds[: len(requests)] = [seed for _, seed in requests]
        samples = sample(self.policy, screens, rows, keys_of(seeds), group=1, sampling=self.sampling)
        ids, mask, logps = (
            np.asarray(array)[:, 0] for array in jax.device_get((samples.ids, samples.mask, samples.logps))
        )
        answers = [
            Sampled(tuple(ids[row, mask[row]].tolist()), tuple(logps[row, mask[row]].tolist()))
            for row in range(len(prompts))
        ]
        self.usage.batches += 1
        self.usage.completions += len(prompts)
        self.usage.rows += mask.shape[0]
        self.usage.tokens += int(mask[: len(prompts)].sum())
        self.usage.sampling_seconds += time.perf_counter() - began
        return answers


@jax.jit
def keys_of(seeds: jax.Array) -> jax.Array:
    """uint32 [B] to random keys [B]."""
    return jax.vmap(jax.random.key)(seeds)
