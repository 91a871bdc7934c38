"""A fleet of phones that many episodes share: leases, calls in threads, and retries of failed calls."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mobile_r1_jax.agent.actions import Action
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.phones.phone import Phone, PhoneError, PhonesUnavailable
from mobile_r1_jax.tasks.task import Progress, Task

P = TypeVar("P", bound=Phone)
T = TypeVar("T")

log = logging.getLogger(__name__)


class InfrastructureFailure(Exception):
    """A phone failed and the retries failed too. The episode ends; the failure does not count against the policy."""


@dataclass(frozen=True)
class Retries:
    """The number of retries and the pause between them [ours]."""

    calls: int = 2  # retries of a failed call, each over a new connection
    revivals: int = 4  # attempts to revive a phone after it ended an episode
    pause: float = 0.5  # seconds before the first retry; doubles with each retry


class LeasedPhone(Generic[P]):
    """A phone that one episode holds. Its calls run one at a time in a thread and do not block the event loop."""

    def __init__(self, phone: P, threads: ThreadPoolExecutor, retries: Retries) -> None:
        self.phone = phone
        self._threads, self._retries = threads, retries
        self._running: asyncio.Future[Any] | None = None
        self._generation: int | None = None  # of the phone at its last reset; None before the first reset
        self.broken = False

    @property
    def serial(self) -> str:
        return self.phone.serial

    async def screenshot(self) -> Screenshot:
        return await self.call(self.phone.screenshot)

    async def perform(self, action: Action) -> str:
        """See `Phone.perform`. The call is repeated only if the action certainly did not reach the phone."""
        return await self.call(self.phone.perform, action, twice=False)

    async def progress(self) -> Progress | None:
        """See Phone."""
        return await self.call(self.phone.progress)

    async def reset(self, task: Task) -> None:
        self._generation = None
        self._generation = await self.call(self._reset, task)

    def _reset(self, task: Task) -> int:
        generation = self.phone.generation  # read before the reset: a replacement during the reset must count
        self.phone.reset(task)
        return generation

    async def call(self, function: Callable[..., T], *arguments: Any, twice: bool = True) -> T:
        """Run a blocking function on the phone in a thread. After a PhoneError, reconnect this phone and try again.

        twice: whether the function may run again when it may already have taken effect. Raises InfrastructureFailure
        when all tries have failed (the phone then returns to the fleet as broken), and when the phone was replaced
        after its reset. Raises PhonesUnavailable if no phone can be used any more.
        """
        pause = self._retries.pause
        for attempt in range(self._retries.calls + 1):
            self._check_generation()
            try:
                result = await self.in_thread(function, *arguments)
                self._check_generation()
                return result
            except PhoneError as error:
                last = attempt == self._retries.calls
                if last or (error.delivered and not twice):
                    self.broken = True
                    raise InfrastructureFailure(str(error)) from error
                log.warning("%s; trying again", error)
            await asyncio.sleep(pause)
            pause *= 2
            try:
                await self.in_thread(self.phone.reconnect)
            except PhoneError as error:
                log.warning("%s", error)  # if the phone is still broken, the next try fails
        raise AssertionError("unreachable")

    def _check_generation(self) -> None:
        if self._generation not in (None, self.phone.generation):
            raise InfrastructureFailure(f"phone {self.serial}: it was restarted and has lost its task")

    async def idle(self) -> None:
        """Wait until no thread uses the phone. A thread continues to its end after its caller was cancelled."""
        if self._running is not None:
            await asyncio.wait([self._running])

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking function in a thread after the previous call has ended, without retries."""
        await self.idle()
        self._running = asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        return await asyncio.shield(self._running)


class Fleet(Generic[P]):
    """A pool of phones to lease: `async with Fleet(phones) as fleet:`, then in each episode
    `async with fleet.lease() as phone:`.

    A broken phone is revived in the background. It returns to the fleet, or the fleet gives it up. The other phones
    and their adb server are not touched. `lease` raises PhonesUnavailable when no phone is left.
    """

    def __init__(self, phones: Sequence[P], retries: Retries = Retries()) -> None:
        if not phones:
            raise ValueError("a fleet needs at least one phone")
        self.retries = retries
        self._free: deque[P] = deque(phones)
        self._left = len(phones)
        self._why_none = "no phone is left: every phone of the fleet failed and could not be revived"
        self._changed = asyncio.Condition()
        self._threads = ThreadPoolExecutor(max_workers=len(phones), thread_name_prefix="phone")
        self._returning: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Fleet[P]:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._returning:
            task.cancel()
        await asyncio.gather(*self._returning, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def size(self) -> int:
        """The number of phones that are not given up."""
        return self._left

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[LeasedPhone[P]]:
        """Yield the phone that has been free for the longest time; wait until a phone is free."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._free or not self._left)
            if not self._free:
                raise PhonesUnavailable(self._why_none)
            phone = self._free.popleft()
        leased = LeasedPhone(phone, self._threads, self.retries)
        try:
            yield leased
        finally:
            # A separate task, so that the cancellation of an episode does not interrupt the return of its phone.
            giving_back = asyncio.create_task(self._take_back(leased))
            self._returning.add(giving_back)
            giving_back.add_done_callback(self._returning.discard)

    async def _take_back(self, leased: LeasedPhone[P]) -> None:
        await leased.idle()
        try:
            alive = not leased.broken or await self._revive(leased)
        except PhonesUnavailable as error:
            alive, self._why_none = False, str(error)
        async with self._changed:
            if alive:
                self._free.append(leased.phone)
            else:
                self._left -= 1
                log.error("phone %s is given up; %d left", leased.serial, self._left)
            self._changed.notify_all()

    async def _revive(self, leased: LeasedPhone[P]) -> bool:
        """Reconnect the phone, with retries. Return whether it works again."""
        pause = self.retries.pause
        for _ in range(self.retries.revivals):
            await asyncio.sleep(pause)
            pause *= 2
            try:
                await leased.in_thread(leased.phone.reconnect)
                await leased.in_thread(leased.phone.screenshot)
            except PhoneError as error:
                log.warning("%s", error)
            else:
                return True
        return False
