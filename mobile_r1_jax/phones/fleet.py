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
from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.agent.progress import Progress
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.phones.phone import Decision, Phone, PhoneError, PhonesUnavailable, SecurePage, TaskNotReady
from mobile_r1_jax.tasks.task import Task

P = TypeVar("P", bound=Phone)
T = TypeVar("T")

log = logging.getLogger(__name__)

_LEAVE_SECONDS = 10.0  # to restore the settings of all phones at the end


class InfrastructureFailure(Exception):
    """A phone failed and the retries failed too. The episode ends; the failure does not count against the policy.

    `reason` leaves out the serial and the command. `transcript`: the last exchanges with the phone, oldest first.
    """

    def __init__(self, message: str, reason: str, transcript: Sequence[str]) -> None:
        super().__init__(message)
        self.reason, self.transcript = reason, tuple(transcript)


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
        self._acted = False  # since the last reset
        self.broken = False

    @property
    def serial(self) -> str:
        return self.phone.serial

    async def screenshot(self) -> Screenshot:
        """See Phone. A start page that forbids pictures is a failure of the phone: the policy did not go there."""
        try:
            return await self.call(self.phone.screenshot)
        except SecurePage as error:
            if self._acted:
                raise
            self.broken = True
            raise self._failure(str(error), "the start page forbids screenshots") from error

    async def perform(self, action: Action) -> str:
        """See `Phone.perform`. The call is repeated only if the action certainly did not reach the phone."""
        self._acted = True
        return await self.call(self.phone.perform, action, twice=False)

    @property
    def decisions(self) -> Sequence[Decision]:
        """See Phone."""
        return self.phone.decisions

    async def progress(self) -> Progress | None:
        """See Phone."""
        return await self.call(self.phone.progress)

    async def outcome(self, task: Task) -> Outcome:
        """See Phone."""
        return await self.call(self.phone.outcome, task)

    async def clean_up(self, task: Task) -> None:
        """See Phone. Do nothing if the phone failed."""
        if not self.broken:
            await self.call(self.phone.clean_up, task, twice=False)

    async def reset(self, task: Task) -> None:
        self._generation, self._acted = None, False
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
            except TaskNotReady as error:
                raise self._failure(str(error), error.reason) from error
            except PhoneError as error:
                last = attempt == self._retries.calls
                if last or (error.delivered and not twice):
                    self.broken = True
                    raise self._failure(str(error), error.reason) from error
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
            reason = "it was restarted and has lost its task"
            raise self._failure(f"phone {self.serial}: {reason}", reason)

    def _failure(self, message: str, reason: str) -> InfrastructureFailure:
        return InfrastructureFailure(message, reason, self.phone.transcript())

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

    On entry, every phone is prepared and checked; those that cannot be used are named once and left out. A broken phone
    is revived in the background. It returns to the fleet, or the fleet gives it up. The other phones and their adb
    server are not touched. `lease` raises PhonesUnavailable when no phone is left. At the end, every phone gets back
    the settings that it had.
    """

    def __init__(self, phones: Sequence[P], retries: Retries = Retries()) -> None:
        if not phones:
            raise ValueError("a fleet needs at least one phone")
        self.retries = retries
        self._threads = ThreadPoolExecutor(max_workers=len(phones), thread_name_prefix="phone")
        self._phones, self._left = tuple(phones), len(phones)
        self._free: deque[P] = deque()
        self._leases = {id(phone): LeasedPhone(phone, self._threads, retries) for phone in phones}  # the last of each
        self._why_none = "no phone is left: every phone of the fleet failed and could not be revived"
        self._changed = asyncio.Condition()
        self._returning: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Fleet[P]:
        try:
            entered = await asyncio.gather(*(self._enter(phone) for phone in self._phones))
            self._free.extend(phone for phone, reason in zip(self._phones, entered, strict=True) if not reason)
            self._left = len(self._free)
            if not self._free:
                raise PhonesUnavailable(f"no phone can be used: {next(filter(None, entered))}")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _enter(self, phone: P) -> str:
        """Prepare a phone. Return "" or why it cannot be used."""
        try:
            await self._leases[id(phone)].call(phone.enter)
        except InfrastructureFailure as error:
            log.error("%s; it is left out", error)
            return str(error)
        return ""

    async def __aexit__(self, *exc: object) -> None:
        for task in self._returning:
            task.cancel()
        await asyncio.gather(*self._returning, return_exceptions=True)
        leaving = [asyncio.create_task(self._leave(phone)) for phone in self._phones]
        _, late = await asyncio.wait(leaving, timeout=_LEAVE_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _leave(self, phone: P) -> None:
        """Restore the settings of a phone. Log a warning when that fails or takes too long."""
        reason: object = f"no answer within {_LEAVE_SECONDS:g} s"
        try:
            await self._leases[id(phone)].in_thread(phone.leave)
            reason = None
        except (PhoneError, OSError) as error:
            reason = error
        finally:
            if reason:
                log.warning("phone %s: its settings are restored when it is used again: %s", phone.serial, reason)

    @property
    def size(self) -> int:
        """The number of phones that are not given up."""
        return self._left

    @property
    def sizes(self) -> set[tuple[int, int]]:
        """(width, height) of the free phones' screens, in device pixels."""
        return {phone.size for phone in self._free}

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[LeasedPhone[P]]:
        """Yield the phone that has been free for the longest time; wait until a phone is free."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._free or not self._left)
            if not self._free:
                raise PhonesUnavailable(self._why_none)
            phone = self._free.popleft()
        leased = self._leases[id(phone)] = LeasedPhone(phone, self._threads, self.retries)
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
            alive = await self._released(leased) or await self._revive(leased)
        except PhonesUnavailable as error:
            alive, self._why_none = False, str(error)
        async with self._changed:
            if alive:
                self._free.append(leased.phone)
            else:
                self._left -= 1
                log.error("phone %s is given up; %d left", leased.serial, self._left)
            self._changed.notify_all()

    async def _released(self, leased: LeasedPhone[P]) -> bool:
        """Restore what the episode changed. Return whether the phone works."""
        try:
            if not leased.broken:
                await leased.in_thread(leased.phone.release)
        except (PhoneError, OSError) as error:
            log.warning("%s", error)
            return isinstance(error, OSError)  # the file of its settings cannot be written; the phone works
        return not leased.broken

    async def _revive(self, leased: LeasedPhone[P]) -> bool:
        """Reconnect the phone, with retries. Return whether it works again."""
        pause = self.retries.pause
        for _ in range(self.retries.revivals):
            await asyncio.sleep(pause)
            pause *= 2
            try:
                await leased.in_thread(leased.phone.revive)
                await leased.in_thread(leased.phone.release)
            except PhoneError as error:
                log.warning("%s", error)
            else:
                return True
        return False
