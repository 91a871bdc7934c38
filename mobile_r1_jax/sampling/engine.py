"""Continuous batching of the sampling requests of many phones.

    phone 1 ── await engine.sample(prompt, seed) ─┐         ┌─ slot 1 ─┐
    phone 2 ── await engine.sample(prompt, seed) ─┼─ queue ─┼─ slot 2 ─┼─ repeated chunks of tokens for all
    phone 3 ── await engine.sample(prompt, seed) ─┘         └─ slot 3 ─┘

Between two chunks the engine returns the finished completions and fills the free slots with waiting prompts. A phone
waits only for its own completion. The engine samples in a thread, so phones continue to act meanwhile.

A prompt stays in its slot until another prompt overwrites it. If a new prompt shares a prefix with it and the remaining
tokens fit a smaller bucket, the engine computes only the remaining tokens. This needs more programs, and it saves more
time the larger the policy is.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mobile_r1_jax.agent.completion import Completion
from mobile_r1_jax.agent.prompts import Prompt
from mobile_r1_jax.model.inputs import EncodedScreens, Prompts, Screens, identity, smallest_bucket
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.sampling.prefix_cache import common_prefix, drop_prefix
from mobile_r1_jax.sampling.sampler import Sampling
from mobile_r1_jax.sampling.slots import Chunk, ReusedPrefixes, Slots, decode, empty_slots, fill

GATHER_SECONDS = 0.004  # how long the first request waits for others when no slot is active

T = TypeVar("T")
Collate = Callable[[Sequence[Prompt], int], tuple[Screens | EncodedScreens, Prompts]]
"""Maps prompts and a number of rows to arrays, padded to these rows and to a prompt bucket of the engine."""


@dataclass
class Usage:
    """Counts of the engine's work since it was created."""

    requests: int = 0  # requests put into slots
    prompts: int = 0  # distinct prompts computed for them
    prefills: int = 0  # calls of `fill`
    prompt_tokens: int = 0  # tokens of these prompts
    prompt_tokens_kept: int = 0  # tokens of them that were reused from the KV cache of a slot
    chunks: int = 0
    completions: int = 0
    tokens: int = 0
    row_steps: int = 0  # tokens that the chunks could have sampled with every row active
    row_steps_used: int = 0  # tokens that they sampled
    queue_seconds: float = 0.0  # summed over requests: from the request until it is put into slots
    sampling_seconds: float = 0.0  # time that the thread worked

    def as_metrics(self) -> dict[str, float]:
        """Return the usage as metrics.

        prompts_shared: share of requests that used the prompt of another request. prompt_tokens_kept: share of prompt
        tokens reused from the KV cache. row_use: share of decoded rows in use. queue_seconds: mean time in the queue.
        tokens_per_second: of sampling time.
        """
        return {
            "prompts_shared": (self.requests - self.prompts) / max(1, self.requests),
            "prompt_tokens_kept": self.prompt_tokens_kept / max(1, self.prompt_tokens),
            "row_use": self.row_steps_used / max(1, self.row_steps),
            "queue_seconds": self.queue_seconds / max(1, self.requests),
            "tokens_per_second": self.tokens / max(1e-9, self.sampling_seconds),
            "chunks": float(self.chunks),
        }


@dataclass
class _Row:
    """A completion that is decoded in a slot."""

    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    truncated_logps: list[float] = field(default_factory=list)
    done: bool = False

    def completion(self) -> Completion:
        return Completion(tuple(self.ids), tuple(self.logps), tuple(self.truncated_logps))


@dataclass(frozen=True)
class _Request:
    """A prompt, its completions, and the future that returns them."""

    prompt: Prompt
    seed: int
    rows: tuple[_Row, ...]
    bucket: int  # prompt tokens
    requested_at: float  # by time.perf_counter
    answer: asyncio.Future[list[Completion]]


class _ReusedPrefix(NamedTuple):
    """A prefix that a prompt shares with the prompt cached in a slot."""

    slot: int
    prompt: Prompt  # the cached one
    tokens: int


@dataclass(frozen=True)
class _Batch:
    """Prompts that are computed together, each with its requests.

    rows: number of prompts, with padding. width: completions of each prompt, with padding. prefixes: one for every
    prompt, or empty.
    """

    prompts: Sequence[Sequence[_Request]]
    rows: int
    width: int
    prefixes: Sequence[_ReusedPrefix]

    def remainders(self) -> list[Prompt]:
        """Return the prompts without their reused prefixes."""
        prompts = [shared[0].prompt for shared in self.prompts]
        if not self.prefixes:
            return prompts
        return [drop_prefix(prompt, known.tokens) for prompt, known in zip(prompts, self.prefixes, strict=True)]


@dataclass
class Engine:
    """A sampling engine. Use it within one event loop, as `async with Engine(...) as engine`.

    Leaving the context cancels open requests. If `policy` is replaced, all later tokens come from the new policy, also
    those of completions that have started.

    rows: completions that are decoded at once. prompt_buckets: lengths that prompts are padded to; every row has room
    for the longest. prefill_rows: batch sizes of prefill; waiting prompts are split into the largest sizes that they
    fill, and the rest is padded. chunk: tokens decoded between two checks of the queue. keep_keys: whether prompts
    reuse the KV cache of a slot. sharding: of the rows over a mesh.
    """

    policy: Policy
    collate: Collate
    sampling: Sampling
    rows: int
    prompt_buckets: Sequence[int]
    prefill_rows: Sequence[int] = (1, 4)
    chunk: int = 8
    keep_keys: bool = True
    sharding: NamedSharding | None = None
    usage: Usage = field(default_factory=Usage)
    _waiting: list[_Request] = field(default_factory=list)
    _open: set[asyncio.Future[list[Completion]]] = field(default_factory=set)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None
    _slots: Slots | None = None
    _active: dict[int, tuple[_Request, _Row]] = field(default_factory=dict)  # by slot; all other slots are free
    _cached: dict[int, Prompt] = field(default_factory=dict)  # by slot, oldest first: the prompt in its KV cache
    _cached_by: Policy | None = None  # the policy that computed it

    async def __aenter__(self) -> "Engine":
        self._task = asyncio.create_task(self._serve())
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for future in tuple(self._open):  # nothing would resolve it
            future.cancel()

    async def sample(self, prompt: Prompt, seed: int) -> Completion:
        """Return a completion of the prompt. The same prompt and seed (32 bits) give the same completion,
        independent of other requests. Raise what sampling raised, such as ValueError for a prompt that is too long."""
        return (await self.sample_group(prompt, seed, 1))[0]

    async def sample_group(self, prompt: Prompt, seed: int, group: int) -> list[Completion]:
        """Return `group` completions of a prompt that is computed once. The first is the one that `sample` returns.

        Raise as `sample`, and ValueError for more completions than rows.
        """
        bucket = smallest_bucket(len(prompt.ids), self.prompt_buckets, "tokens in a prompt")
        if group > self.rows:
            raise ValueError(
                f"{group} completions of one prompt asked for, the engine has {self.rows} rows; ask for less"
            )
        future: asyncio.Future[list[Completion]] = asyncio.get_running_loop().create_future()
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        rows = tuple(_Row() for _ in range(group))
        self._waiting.append(_Request(prompt, seed, rows, bucket, time.perf_counter(), future))
        self._wake.set()
        return await future

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            if not self._active and len(self._waiting) < self.rows:
                await asyncio.sleep(GATHER_SECONDS)
            self._active = {slot: both for slot, both in self._active.items() if not both[0].answer.done()}
            admitted = self._admit()
            if admitted or self._active:
                await self._step(admitted)
            if not self._active and not self._waiting:
                self._wake.clear()

    def _admit(self) -> list[_Request]:
        """Take requests from the queue, in order, while the free slots have room for them."""
        self._waiting = [request for request in self._waiting if not request.answer.done()]  # drop cancelled ones
        free = self.rows - len(self._active)
        needed = [sum(len(request.rows) for request in self._waiting[: n + 1]) for n in range(len(self._waiting))]
        count = sum(rows <= free for rows in needed)
        admitted, self._waiting = self._waiting[:count], self._waiting[count:]
        return admitted

    async def _step(self, admitted: Sequence[_Request]) -> None:
        """Run one step in the thread and resolve finished requests. If the step fails, all requests in progress fail,
        because the slots were donated to the failed programs."""
        requests = (*admitted, *(request for request, _ in self._active.values()))
        under_way = {id(request): request for request in requests}
        try:
            refused = await asyncio.to_thread(self._step_in_thread, admitted, jax.sharding.get_mesh())
        except Exception as error:  # every waiting request must receive it
            refused = [(request, error) for request in under_way.values()]
            self._slots, self._active, self._cached = None, {}, {}
        for request, error in refused:
            if not request.answer.done():
                request.answer.set_exception(error)
        for request in under_way.values():
            if all(row.done for row in request.rows) and not request.answer.done():
                request.answer.set_result([row.completion() for row in request.rows])
                self.usage.completions += len(request.rows)

    def _step_in_thread(self, admitted: Sequence[_Request], mesh: Mesh) -> list[tuple[_Request, Exception]]:
        """Run one step under the caller's mesh, which threads do not inherit. Return refused requests with errors."""
        with nullcontext() if mesh.empty else jax.set_mesh(mesh):
            return self._prefill_and_decode(admitted)

    def _prefill_and_decode(self, admitted: Sequence[_Request]) -> list[tuple[_Request, Exception]]:
        """Prefill the admitted requests, decode a chunk, and copy both to the host at once."""
        began = time.perf_counter()
        refused: list[tuple[_Request, Exception]] = []
        if self._cached_by is not self.policy:
            self._cached, self._cached_by = {}, self.policy
        for batch in self._collate_batches(admitted, refused):
            self._fill(*batch)
        if self._active:
            assert self._slots is not None
            wanted = np.isin(np.arange(self.rows), list(self._active))
            longest = max(request.bucket for request, _ in self._active.values())
            wanted, columns, sampling = self._place((wanted, np.arange(longest, dtype=np.int32), self.sampling))
            with jax.transfer_guard("disallow"):  # the only transfers are the line above and the line below
                self._slots, chunk = decode(self.policy, self._slots, wanted, columns, sampling, tokens=self.chunk)
            self._store_chunk(*jax.device_get((chunk, self._slots.done)))
        self.usage.sampling_seconds += time.perf_counter() - began
        return refused

    def _collate_batches(
        self, requests: Sequence[_Request], refused: list[tuple[_Request, Exception]]
    ) -> Iterator[tuple[_Batch, Screens | EncodedScreens, Prompts]]:
        """Yield batches of one shape with their arrays. Refuse only the requests that cannot be collated."""
        for batch in make_batches(requests, self.prefill_rows, self._find_prefix):
            if any(self._cached.get(known.slot) is not known.prompt for known in batch.prefixes):
                # An earlier batch has overwritten one of these slots.
                yield from self._collate_batches([request for shared in batch.prompts for request in shared], refused)
                continue
            try:
                screens, prompts = self.collate(batch.remainders(), batch.rows)
            except Exception as error:
                if len(batch.prompts) == 1:
                    refused += [(request, error) for request in batch.prompts[0]]
                else:
                    for shared in batch.prompts:
                        yield from self._collate_batches(shared, refused)
            else:
                yield batch, screens, prompts

    def _find_prefix(self, prompt: Prompt) -> tuple[int, _ReusedPrefix | None]:
        """Return the bucket of the tokens to compute, and the cached prefix that makes it smaller, if any."""
        bucket = smallest_bucket(len(prompt.ids), self.prompt_buckets, "tokens in a prompt")
        if self.keep_keys and self._cached and bucket > min(self.prompt_buckets):
            cached = (_ReusedPrefix(slot, other, common_prefix(prompt, other)) for slot, other in self._cached.items())
            known = max(cached, key=attrgetter("tokens"))
            smaller = smallest_bucket(len(prompt.ids) - known.tokens, self.prompt_buckets, "tokens in a prompt")
            if smaller < bucket:
                return smaller, known
        return bucket, None

    def _fill(self, batch: _Batch, screens: Screens | EncodedScreens, prompts: Prompts) -> None:
        """Prefill a batch into free slots."""
        if self._slots is None:
            self._slots = empty_slots(
                self.policy,
                rows=self.rows,
                prompt_tokens=max(self.prompt_buckets),
                own_tokens=self.sampling.max_tokens,
                sharding=self.sharding,
            )
        # Order: empty slots and those whose prefix this batch reuses, then the oldest.
        known = [prefix.slot for prefix in batch.prefixes]
        age = {slot: number for number, slot in enumerate(self._cached) if slot not in known}
        free = iter(sorted(set(range(self.rows)) - set(self._active), key=lambda slot: age.get(slot, -1)))
        targets = np.full((batch.rows, batch.width), self.rows, np.int32)
        seeds, members = np.zeros((2, *targets.shape), np.uint32)
        filled_slots = {}
        for line, requests in enumerate(batch.prompts):
            rows = [(request, member, row) for request in requests for member, row in enumerate(request.rows)]
            for column, (request, member, row) in enumerate(rows):
                slot = next(free)
                targets[line, column], seeds[line, column], members[line, column] = slot, request.seed, member
                filled_slots[slot] = request, row
        self._active.update(filled_slots)
        prefixes = None
        if batch.prefixes:
            padding = [0] * (batch.rows - len(batch.prefixes))
            tokens = [prefix.tokens for prefix in batch.prefixes]
            prefixes = ReusedPrefixes(np.array(known + padding, np.int32), np.array(tokens + padding, np.int32))
            self.usage.prompt_tokens_kept += sum(tokens)
        numbers = self._place((seeds, members, targets, prefixes))
        self._slots = fill(self.policy, self._slots, screens, prompts, *numbers)
        for slot, (request, _) in filled_slots.items():
            self._cached.pop(slot, None)
            self._cached[slot] = request.prompt
        now = time.perf_counter()
        filled = [request for requests in batch.prompts for request in requests]
        self.usage.prefills += 1
        self.usage.prompts += len(batch.prompts)
        self.usage.prompt_tokens += sum(len(shared[0].prompt.ids) for shared in batch.prompts)
        self.usage.requests += len(filled)
        self.usage.queue_seconds += sum(now - request.requested_at for request in filled)

    def _place(self, values: T) -> T:
        """Copy host values to every device of the slots."""
        everywhere = None if self.sharding is None else NamedSharding(self.sharding.mesh, PartitionSpec())
        return jax.device_put(values, everywhere)

    def _store_chunk(self, chunk: Chunk, done: np.ndarray) -> None:
        """Append the tokens of a chunk to their completions, and free the slots of finished ones."""
        for slot, (_, row) in self._active.items():
            drawn = chunk.mask[:, slot]
            row.ids += chunk.ids[drawn, slot].tolist()
            row.logps += chunk.logps[drawn, slot].tolist()
            if chunk.truncated_logps is not None:
                row.truncated_logps += chunk.truncated_logps[drawn, slot].tolist()
            row.done = bool(done[slot])
        self._active = {slot: both for slot, both in self._active.items() if not both[1].done}
        self.usage.chunks += 1
        self.usage.row_steps += int(chunk.steps) * self.rows
        self.usage.row_steps_used += int(chunk.mask[1:].sum())
        self.usage.tokens += int(chunk.mask.sum())


def make_batches(
    requests: Sequence[_Request],
    sizes: Sequence[int],
    find_prefix: Callable[[Prompt], tuple[int, _ReusedPrefix | None]],
) -> Iterator[_Batch]:
    """Yield requests in batches of the largest of `sizes` that they fill; the rest uses the smallest, padded if needed.

    Requests for the same prompt share one row. All prompts of a batch have the same width and, by `find_prefix`, the
    same bucket of tokens to compute.
    """
    shared: dict[tuple[bytes, ...], list[_Request]] = defaultdict(list)
    for request in requests:
        shared[identity(request.prompt)].append(request)
    together: dict[tuple[int, bool, int], list[tuple[list[_Request], _ReusedPrefix | None]]] = defaultdict(list)
    for some in shared.values():
        bucket, known = find_prefix(some[0].prompt)
        together[bucket, known is None, completion_capacity(sum(len(request.rows) for request in some))].append(
            (some, known)
        )
    for (_, _, width), some in together.items():
        while some:
            rows = max((size for size in sizes if size <= len(some)), default=min(sizes))
            prompts, known = zip(*some[:rows], strict=True)
            yield _Batch(prompts, rows, width, () if known[0] is None else known)
            some = some[rows:]


def completion_capacity(completions: int) -> int:
    """Return the padded number of completions that a prompt is compiled for: 1, or a power of two from 8."""
    return 1 if completions == 1 else max(8, 1 << (completions - 1).bit_length())
