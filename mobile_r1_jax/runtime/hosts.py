"""The hosts of a run: what its processes agree on, exchange and share, outside the devices.

A process alone has `Hosts()`, whose methods return at once. With several processes, every one calls the same methods
in the same order. They exchange small values through process 0 (links.py), so no host waits on a device for another
one whose phones are slower. If a process ends, each other one prints a line and ends too: the devices' programs would
wait for it forever.
"""

import asyncio
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.runtime.links import Link
from mobile_r1_jax.runtime.places import Place

T = TypeVar("T")
NOTICE_SECONDS = 2.0  # within which a host learns that another one is lost
START_AGAIN = "start all hosts again: the run goes on from its last checkpoint"


class HostsError(OneLineError):
    """The hosts of a run differ, or do not do the same."""


class Hosts:
    """The processes of a run. index: the number of this one. count: their number."""

    def __init__(self, place: Place | None = None, links: Mapping[int, Link] | None = None) -> None:
        self.index, self.count = (0, 1) if place is None else (place.index, place.count)
        self.unsaved = False  # there is something to save that the last checkpoint lacks
        self.stopping = False  # this process got a signal to stop; the others learn of it in the next `gather`
        self._links = dict(links or {})
        self._inbox: dict[int, queue.SimpleQueue[Any]] = {index: queue.SimpleQueue() for index in self._links}
        self._left = False  # no process waits for this one any more
        self._ending = threading.Lock()  # held for good by the first thread that ends the process
        self._cancel_work: Any = None
        self._on_stop: Any = None
        for index in self._links:
            threading.Thread(target=self._listen, args=(index,), daemon=True, name=f"host {index}").start()

    @property
    def first(self) -> bool:
        """Return whether this process writes what a run has once: config, metrics, results, report, exports."""
        return self.index == 0

    def share(self, total: int) -> range:
        """Return the numbers of `total` things that are this host's: one block, as even as possible."""
        return range(self.index * total // self.count, (self.index + 1) * total // self.count)

    def folder(self, name: str) -> str:
        """Return the name of this host's folder of trajectories; hosts may share a file system."""
        return name if self.first else f"{name}-host-{self.index}"

    def gather(self, name: str, value: T) -> list[T]:
        """Wait for all hosts, and return their values (of JSON types) by index.

        Raise asyncio.CancelledError on all hosts if one of them is stopping, and HostsError if they call it by
        different names."""
        if self.count == 1:
            return [value]
        parts = self._exchange([name, self.stopping, value])
        if any(stopping for _, stopping, _ in parts):
            self._follow()
            raise asyncio.CancelledError
        if len(names := {name for name, _, _ in parts}) > 1:
            self._part()
            raise HostsError(
                f"the hosts are out of step ({', '.join(sorted(names))}), which is a fault of this program"
            )
        return [value for _, _, value in parts]

    def of_first(self, name: str, value: T) -> T:
        """Return the value of process 0 (of JSON types); that of the other processes does not matter."""
        return self.gather(name, value if self.first else None)[0]

    def in_turn(self, name: str, work: Callable[[], T]) -> T:
        """Return `work()`, done first by process 0: what it writes into a common folder is there for the others."""
        if not self.first:
            self.gather(name, None)
        result = work()
        if self.first:
            self.gather(name, None)
        return result

    def agree(self, facts: Mapping[str, str]) -> None:
        """Raise HostsError in one line, on all hosts, if a fact differs between hosts."""
        every = self.gather("agreement", [self.name, dict(facts)])
        name, own = every[0]
        for index, (other_name, other) in enumerate(every):
            for fact in sorted({*own, *other}):
                if own.get(fact) != other.get(fact):
                    self._part()
                    raise HostsError(
                        f"the hosts differ: {fact} is {own.get(fact)} on process 0 ({name}) and {other.get(fact)} on "
                        f"process {index} ({other_name}); start all with the same code, libraries, flags and files"
                    )

    @property
    def name(self) -> str:
        """Return the name of this machine."""
        return socket.gethostname()

    async def until_stop(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what the coroutine returns, between two calls of `gather`.

        When a host stops or its work fails, all hosts cancel the work and raise together: asyncio.CancelledError, or
        the error of the host that failed."""
        if self.count == 1:
            return await work
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
        self._cancel_work = lambda: loop.call_soon_threadsafe(task.cancel)
        if self.stopping:
            task.cancel()
        try:
            return await task
        except (Exception, asyncio.CancelledError):
            self.stop()
            with suppress(asyncio.CancelledError):
                self.gather("stop", None)
            raise
        finally:
            self._cancel_work = None

    def on_stop(self, act: Any) -> None:
        """Call `act()`, in any thread, when another host is stopping."""
        self._on_stop = act

    def stop(self) -> None:
        """Tell all hosts to stop at the next `gather`, and to cancel the work that comes before it."""
        if self.stopping:
            return
        self.stopping = True
        # A signal may have come in the middle of `send`, which only another thread can wait for.
        threading.Thread(target=self._send_all, args=("stop",), daemon=True).start()
        if (cancel := self._cancel_work) is not None:
            cancel()

    def leave(self, close: Callable[[], None] = lambda: None) -> None:
        """Wait until all hosts have come to their end, call `close()`, and close the links."""
        self._exchange(["end", False, None])
        self._part()
        close()
        for link in self._links.values():
            link.close()

    def _part(self) -> None:
        """Tell the other processes that this one ends; they know the reason."""
        self._left = True
        self._send_all("bye")

    def fail(self, error: BaseException) -> None:
        """Tell the other hosts why this one ends; they end too.

        A host that is lost makes the programs of the others fail: wait first for the line that says so. A signal that
        nothing waited for is no failure."""
        if self._left:
            return
        message = ""
        if not isinstance(error, KeyboardInterrupt):
            time.sleep(NOTICE_SECONDS)
            message = " ".join(f"{error}".split()) or type(error).__name__
        self._ending.acquire(blocking=False)
        self._send_all("failed", [self.index, self.name, message])

    def _exchange(self, part: Sequence[Any]) -> list[Any]:
        if self.index:
            self._links[0].send("value", part)
            return self._inbox[0].get()
        parts = [part, *(self._inbox[index].get() for index in sorted(self._inbox))]
        self._send_all("value", parts)
        return parts

    def _follow(self) -> None:
        """Stop, because another host is stopping."""
        if not self.stopping:
            self.stop()
            if self._on_stop is not None:
                self._on_stop()

    def _send_all(self, kind: str, value: Any = None, but: int | None = None) -> None:
        for index, link in self._links.items():
            if index != but:
                link.send(kind, value)

    def _listen(self, index: int) -> None:
        """Receive the messages of a process until it leaves. Process 0 passes them on."""
        while True:
            kind, value = self._links[index].receive() or ("lost", [index, self._links[index].name, ""])
            if kind == "value":
                self._inbox[index].put(value)
            elif kind == "stop":
                self._follow()
            elif kind == "bye" or self._left:
                return
            else:
                self._send_all(kind, value, but=index)
                self._end(*value)
                return

    def _end(self, index: int, name: str, message: str) -> None:
        """Print why this process ends, and end it: its main thread may be inside a program of all hosts."""
        if self._ending.acquire(blocking=False):
            what = f"failed: {message.removeprefix('error: ')}" if message else f"has ended; {START_AGAIN}"
            with suppress(OSError, ValueError):
                print(f"error: process {index} ({name}) {what}", file=sys.stderr, flush=True)
            os._exit(1)
