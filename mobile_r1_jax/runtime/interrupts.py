"""Ctrl-C and SIGTERM: the command is cancelled, and has a bounded time to save and to stop its phones.

The first signal cancels the coroutine of `Interrupts.run`: its current await raises asyncio.CancelledError, and it
saves before it ends. A second signal raises KeyboardInterrupt at once. A thread ends the process when the time is over.
It does so even while the main thread compiles, where Python handles no signals; and soon, if there is nothing to save.
"""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

SECONDS = 30.0  # for saving; a preempted VM stops soon after
IDLE_SECONDS = 5.0  # the same, if there is nothing to save and the main thread does not answer
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """A signal ended the command; `status` is the exit status that shells expect."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class _Threads(ThreadPoolExecutor):
    """The threads of an event loop. After a signal their work is abandoned: a compilation can take minutes."""

    abandoned = False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=wait and not self.abandoned, cancel_futures=cancel_futures or self.abandoned)


class Interrupts:
    """A context manager, for the main thread; elsewhere it does nothing."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._unsaved: Callable[[], bool] = lambda: False
        self._seconds = seconds
        self._answered = False  # the main thread knows of the signal
        self._number: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._stop: Callable[[], None] | None = None
        self._by_peer = False  # another process got the first signal

    def stop_by(self, stop: Callable[[], None]) -> None:
        """Let the first signal call `stop()` instead of cancelling the coroutine, which then ends by itself."""
        self._stop = stop

    def watch(self, unsaved: Callable[[], bool]) -> None:
        """Ask `unsaved()` whether there is something to save that the last checkpoint lacks."""
        self._unsaved = unsaved

    def follow(self) -> None:
        """Act as if SIGTERM had come, in any thread: another process of the run got a signal."""
        if self._number is None:
            self._number, self._by_peer = signal.SIGTERM, True
            os.write(self._writing, bytes([signal.SIGTERM]))  # the time to save begins

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Return what the coroutine returns. Raises Interrupted when a signal cancelled it.

        Its threads may still work then; os._exit does not wait for them."""

        async def registered() -> Any:
            loop, threads = asyncio.get_running_loop(), _Threads(thread_name_prefix="loop")
            loop.set_default_executor(threads)
            self._loop, self._task = loop, asyncio.current_task()
            try:
                return await coroutine
            finally:
                self._loop = self._task = None
                threads.abandoned = self._number is not None

        try:
            with asyncio.Runner() as runner:
                return runner.run(registered())
        except asyncio.CancelledError:
            if self._number is None:
                raise
            raise self.interrupted() from None

    def interrupted(self) -> Interrupted:
        """Return the exception for the signal that came, or SIGTERM, if only another process got one."""
        return Interrupted(self._number or signal.SIGTERM)

    def __enter__(self) -> "Interrupts":
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._reading, writing = os.pipe()
            os.set_blocking(writing, False)
            self._writing = writing
            self._handlers = {number: signal.signal(number, self._received) for number in SIGNALS}
            self._wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
            threading.Thread(target=self._limit, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._main:
            signal.set_wakeup_fd(self._wakeup)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            os.close(self._writing)  # ends the thread
        if isinstance(error, KeyboardInterrupt) and self._number is not None:
            raise self.interrupted() from None

    def _received(self, number: int, frame: FrameType | None) -> None:
        first, self._number, self._by_peer = self._number is None or self._by_peer, number, False
        self._note_answer()
        if self._loop is None or not first:
            raise KeyboardInterrupt
        if self._stop is not None:
            self._stop()
        else:
            self._loop.call_soon_threadsafe(self._task.cancel)

    def _limit(self) -> None:
        """Wait for a signal, then for the end of the command; end the process when that takes too long."""
        with open(self._reading, "rb", buffering=0) as reading:
            number = reading.read(1)
            while number and number[0] not in SIGNALS:
                number = reading.read(1)
            if not number:
                return
            self._begin()
            began = time.monotonic()
            while time.monotonic() - began < (patience := self._patience()):
                os.set_blocking(self._reading, False)
                if reading.read(1) == b"":  # the other end is closed: the command has ended
                    return
                time.sleep(0.05)
        name = signal.Signals(number[0]).name
        words = f"stopped: saving took over {patience:.0f} s and was given up"
        if not self._unsaved() and not self._answered:
            words = f"stopped by {name}, with nothing to save; to go on, start the same command again"
        print(f"\n{words}", file=sys.stderr, flush=True)
        os._exit(128 + number[0])

    def _begin(self) -> None:
        """Pass the signal on now: the main thread may compile."""
        if (loop := self._loop) is None:
            return
        with suppress(RuntimeError):  # the loop has just ended
            loop.call_soon_threadsafe(self._note_answer)
        if self._stop is not None:
            self._stop()

    def _note_answer(self) -> None:
        self._answered = True

    def _patience(self) -> float:
        """Return the seconds from the signal to the end of the process."""
        return self._seconds if self._unsaved() or self._answered else min(IDLE_SECONDS, self._seconds)
