"""python benchmarks/sampling_engine.py: continuous batching against static batches, for the requests of phones.

Simulated phones send a request, wait for the answer, think, and send a longer prompt, as in an episode. Thinking times
and answer lengths vary. All methods get the same prompts, seeds and thinking times, in turns, after one warm-up each.
The table has medians of the repetitions. Machines are noisy: compare the ratios. "no reuse" is the engine without
prefix reuse; "kept" is the share of prompt tokens that it reused.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import jax
import numpy as np
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer

from mobile_r1_jax.agent.completion import Completion
from mobile_r1_jax.agent.prompts import PastTurn, Prompt, build_prompt, response_ids
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot, patches
from mobile_r1_jax.model.checkpoints.huggingface import load_policy
from mobile_r1_jax.model.inputs import EncodedScreens, Prompts, distinct_screens, stack_prompts
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.phones.simulator import gestures
from mobile_r1_jax.phones.simulator.oracle import apply_move, next_move
from mobile_r1_jax.phones.simulator.screen import draw
from mobile_r1_jax.phones.simulator.tasks import draw_tasks, place
from mobile_r1_jax.sampling.engine import Engine
from mobile_r1_jax.sampling.sampler import Sampling, sample
from mobile_r1_jax.sampling.screen_cache import ScreenCache

TINY = Path(__file__).resolve().parent.parent / "assets" / "tiny-base"
BUCKETS, WINDOWS = (128, 224, 320, 448), 2
RESPONSE = "<think>On Home; need it.</think><action>Open it.</action>"


@dataclass(frozen=True)
class Work:
    """The load of one measurement.

    phones: concurrent phones. turns: requests of each. think: mean seconds between an answer and the next request.
    rows: completions that are decoded at once. stops: share of the vocabulary that ends an answer.
    """

    phones: int
    turns: int
    think: float
    rows: int
    tokens: int
    stops: float
    repetitions: int


@dataclass
class StaticBatching:
    """The baseline: all waiting requests form one batch, which is sampled until its last completion ends."""

    policy: Policy
    collate: Callable[[Sequence[Prompt], int], tuple[EncodedScreens, Prompts]]
    sampling: Sampling
    rows: int
    _waiting: list[tuple[Prompt, int, asyncio.Future[Completion]]] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> "StaticBatching":
        self._task = asyncio.create_task(self._serve())
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._task.cancel()

    async def sample(self, prompt: Prompt, seed: int) -> Completion:
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting.append((prompt, seed, future))
        self._wake.set()
        return await future

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            if len(self._waiting) < self.rows:
                await asyncio.sleep(0.004)
            batch, self._waiting = self._waiting[: self.rows], self._waiting[self.rows :]
            if not self._waiting:
                self._wake.clear()
            for (*_, future), answer in zip(batch, await asyncio.to_thread(self._sample, batch), strict=True):
                future.set_result(answer)

    def _sample(self, batch: Sequence[tuple[Prompt, int, asyncio.Future[Completion]]]) -> list[Completion]:
        screens, prompts = self.collate([prompt for prompt, *_ in batch], self.rows)
        seeds = np.zeros(self.rows, np.uint32)
        seeds[: len(batch)] = [seed for _, seed, _ in batch]
        drawn = jax.device_get(sample(self.policy, screens, prompts, make_keys(seeds), group=1, sampling=self.sampling))
        ids, mask, logps = drawn.ids[:, 0], drawn.mask[:, 0], drawn.logps[:, 0]
        return [
            Completion(tuple(ids[r, mask[r]].tolist()), tuple(logps[r, mask[r]].tolist())) for r in range(len(batch))
        ]


@jax.jit
def make_keys(seeds: jax.Array) -> jax.Array:
    return jax.vmap(jax.random.key)(seeds)


def make_prompts(tokenizer: object, phones: int, turns: int) -> list[list[Prompt]]:
    """Return the prompts of each phone's turns: the last screenshots and all responses so far."""
    found, response = [], response_ids(tokenizer, RESPONSE)
    for task in draw_tasks(phones, seed=0, apps=("shop",), held_out=False, popups=0):
        placed = place(task.setup)
        past: list[PastTurn] = []
        prompts = []
        for _ in range(turns):
            screenshot = Screenshot(draw(gestures.screen_of(placed.state), (112, 224)))
            system = "Phone. Task: " + task.instruction
            prompts.append(build_prompt(tokenizer, system, past, screenshot, Resizing(scale=1.0)))
            past = [*past, PastTurn(screenshot, response)]
            apply_move(placed.state, next_move(placed.state, placed.goals))
        found.append(prompts)
    return found


async def play(
    engine: Engine | StaticBatching, prompts: Sequence[Sequence[Prompt]], think: float
) -> tuple[float, float, list[Completion]]:
    """Return the seconds of all requests, the mean seconds of an answer, and the answers."""
    waited, answers = [], {}

    async def phone(number: int) -> None:
        rng = Random(number)
        for turn, prompt in enumerate(prompts[number]):
            await asyncio.sleep(rng.expovariate(1 / think) if think else 0)
            began = time.perf_counter()
            answers[number, turn] = await engine.sample(prompt, 1000 * number + turn)
            waited.append(time.perf_counter() - began)

    async with engine:
        began = time.perf_counter()
        await asyncio.gather(*map(phone, range(len(prompts))))
        seconds = time.perf_counter() - began
    return seconds, statistics.mean(waited), [answers[key] for key in sorted(answers)]


def compare(policy: Policy, prompts: Sequence[Sequence[Prompt]], work: Work, chunk: int) -> dict[str, list[float]]:
    """Return for each method: median seconds, median of the mean waits, tokens, and for engines the use of rows and the
    share of prompt tokens kept (else nan)."""
    config = policy.config
    cache = ScreenCache(
        policy.vision,
        patches,
        config.vision,
        windows=(WINDOWS,),
        rows=(4, 16),
        tokens=WINDOWS * config.vision.window_tokens,
        place=lambda screens: screens,
    )

    def collate(some: Sequence[Prompt], rows: int) -> tuple[EncodedScreens, Prompts]:
        screens, places = cache(distinct_screens(some), screens=2 * rows)
        return screens, stack_prompts(some, places, rows=rows, prompt_buckets=BUCKETS)

    # Stop tokens are random, so that lengths are geometric for any policy.
    stops = Random(0).sample(range(config.text.vocab), int(work.stops * config.text.vocab))
    sampling = Sampling(max_tokens=work.tokens, temperature=4.0, stop_ids=tuple(sorted(stops)))
    continuous = partial(Engine, policy, collate, sampling, work.rows, prompt_buckets=BUCKETS, chunk=chunk)
    ways = {
        "static batches": lambda: StaticBatching(policy, collate, sampling, work.rows),
        "continuous, no reuse": partial(continuous, keep_keys=False),
        "continuous": continuous,
    }
    seconds, waits, found = ({way: [] for way in ways} for _ in range(3))
    use = {way: [float("nan")] * 2 for way in ways}
    for repetition in range(work.repetitions + 1):
        for way, new in ways.items():
            engine = new()
            took, waited, found[way] = asyncio.run(play(engine, prompts, work.think))
            if repetition:
                seconds[way].append(took)
                waits[way].append(waited)
            if isinstance(engine, Engine):
                metrics = engine.usage.as_metrics()
                use[way] = [metrics["row_use"], metrics["prompt_tokens_kept"]]
    tokens = {way: sum(len(answer.ids) for answer in found[way]) for way in ways}
    return {
        way: [statistics.median(seconds[way]), statistics.median(waits[way]), tokens[way], *use[way]] for way in ways
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", type=Path, default=TINY, help="a Qwen2.5-VL checkpoint in Hugging Face format")
    parser.add_argument("--phones", type=int, default=32)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--think", type=float, nargs="+", default=[0.0, 0.2, 1.0], help="mean seconds; a row for each")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--stops", type=float, default=0.05, help="share of tokens that end an answer")
    parser.add_argument("--chunk", type=int, default=Engine.chunk)
    parser.add_argument("--repetitions", type=int, default=3)
    asked = parser.parse_args()
    policy = load_policy(asked.policy)
    prompts = make_prompts(AutoTokenizer.from_pretrained(asked.policy), asked.phones, asked.turns)
    table = Table(
        *("think", "way", "seconds", "ratio", "mean wait", "tokens/s", "row use", "kept"),
        title=f"{asked.phones} phones x {asked.turns} turns, {asked.rows} rows, at most {asked.tokens} tokens, "
        f"chunks of {asked.chunk}, {jax.default_backend()}, medians of {asked.repetitions}",
    )
    for think in asked.think:
        work = Work(asked.phones, asked.turns, think, asked.rows, asked.tokens, asked.stops, asked.repetitions)
        found = compare(policy, prompts, work, asked.chunk)
        before = found["static batches"][0]
        for way, (seconds, waited, tokens, *shares) in found.items():
            used = ["" if share != share else f"{share:.2f}" for share in shares]
            cells = f"{seconds:.2f}", f"{before / seconds:.2f}", f"{waited:.2f} s", f"{tokens / seconds:.0f}", *used
            table.add_row(f"{think} s", way, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
