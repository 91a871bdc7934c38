"""Many phones shared by many episodes: leases, calls in threads, and retries below the episode."""

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
from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.phone import PhoneError, PhonesUnavailable, Task

P = TypeVar("P", bound=AdbPhone)
T = TypeVar("T")

log = logging.getLogger(__name__)


class InfrastructureFailure(Exception):
    """A phone failed and retries did not help: the episode ends here, and it is not the policy's fault."""


@dataclass(frozen=True)
class Retries:
    """How often, and how many seconds apart (doubled every time). Our choice."""

    calls: int = 2  # again after a failed call, each time over a fresh connection
    revivals: int = 4  # tries to bring back a phone that an episode was lost on
    pause: float = 0.5


class LeasedPhone(Generic[P]):
    """A phone that is one episode's for a while. Its calls block a thread, not the event loop; one at a time."""

    def __init__(self, phone: P, threads: ThreadPoolExecutor, retries: Retries) -> None:
        self.phone = phone
        self._threads, self._retries = threads, retries
        self._running: asyncio.Future[Any] | None = None
        self._generation: int | None = None  # of the phone that was reset; None as long as there is nothing to forget
        self.broken = False

    @property
    def serial(self) -> str:
        return self.phone.serial

    async def screenshot(self) -> Screenshot:
        return await self.call(self.phone.screenshot)

    async def perform(self, action: Action) -> str:
        """See `AdbPhone.perform`. Repeated only if the phone surely never got it: a tap must not happen twice."""
        return await self.call(self.phone.perform, action, twice=False)

    async def reset(self, task: Task) -> None:
        self._generation = None
        self._generation = await self.call(self._reset, task)

    def _reset(self, task: Task) -> int:
        generation = self.phone.generation  # read first: a phone that is replaced during its reset has forgotten it
        self.phone.reset(task)
        return generation

    async def call(self, function: Callable[..., T], *arguments: Any, twice: bool = True) -> T:
        """Runs a blocking function on the phone in a thread; after a PhoneError reconnects this phone and tries again.

        `twice`: whether it may run again when it may already have had its effect. Raises InfrastructureFailure when
        the tries are used up (the phone then goes back to the fleet as broken), and when the phone is no longer the one
        that was reset, whatever the function returned. Raises PhonesUnavailable where no phone can be used any more.
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
                log.warning("%s", error)  # the next try tells whether it matters
        raise AssertionError("unreachable")

    def _check_generation(self) -> None:
        if self._generation not in (None, self.phone.generation):
            raise InfrastructureFailure(f"phone {self.serial}: it was started again and has forgotten its task")

    async def idle(self) -> None:
        """Waits until no thread is using the phone: one whose caller was cancelled runs to its end."""
        if self._running is not None:
            await asyncio.wait([self._running])

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Runs a blocking function in a thread, once whatever ran before it has ended; nothing is tried again."""
        await self.idle()
        self._running = asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        return await asyncio.shield(self._running)


class Fleet(Generic[P]):
    """Leases phones: `async with Fleet(phones) as fleet:`, then `async with fleet.lease() as phone:` in each episode.

    A phone that broke is revived in the background and comes back, or is given up; the other phones and the server they
    share are left alone. Raises PhonesUnavailable from `lease` when no phone is left at all.
    """

    def __init__(self, phones: Sequence[P], retries: Retries = Retries()) -> None:
        if not phones:
            raise ValueError("a fleet needs at least one phone")
        self.retries = retries
        self._free: deque[P] = deque(phones)
        self._left = len(phones)
        self._why_none = "no phone is left: every one of the fleet failed and could not be revived"
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
        """How many phones are not given up."""
        return self._left

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[LeasedPhone[P]]:
        """The phone that has been free for longest, as soon as there is one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._free or not self._left)
            if not self._free:
                raise PhonesUnavailable(self._why_none)
            phone = self._free.popleft()
        leased = LeasedPhone(phone, self._threads, self.retries)
        try:
            yield leased
        finally:
            # A task of its own: returning a phone must not be cut short when the episode is cancelled.
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
        """Whether the phone came back."""
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
