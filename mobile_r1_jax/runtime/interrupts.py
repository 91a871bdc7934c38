"""Ctrl-C and SIGTERM: the command is cancelled, and has a bounded time to save and to stop its phones.

The first signal cancels the coroutine of `Interrupts.run`: its current await raises asyncio.CancelledError, and it
saves before it ends. A second signal raises KeyboardInterrupt at once. A thread ends the process when the time is over.
It does so even while the main thread compiles, where Python handles no signals.
"""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any

SECONDS = 30.0  # for saving; a preempted VM stops soon after
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """A signal ended the command; `status` is the exit status that shells expect."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class Interrupts:
    """A context manager, for the main thread; elsewhere it does nothing."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._number: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._stop: Callable[[], None] | None = None
        self._by_peer = False  # another process got the first signal

    def stop_by(self, stop: Callable[[], None]) -> None:
        """Let the first signal call `stop()` instead of cancelling the coroutine, which then ends by itself."""
        self._stop = stop

    def follow(self) -> None:
        """Act as if SIGTERM had come, in any thread: another process of the run got a signal."""
        if self._number is None:
            self._number, self._by_peer = signal.SIGTERM, True
            os.write(self._writing, bytes([signal.SIGTERM]))  # the time to save begins

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Return what the coroutine returns. Raises Interrupted when a signal cancelled it."""

        async def registered() -> Any:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            try:
                return await coroutine
            finally:
                self._loop = self._task = None

        try:
            with asyncio.Runner() as runner:
                return runner.run(registered())
        except asyncio.CancelledError:
            if self._number is None:
                raise
            raise Interrupted(self._number) from None

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
            raise Interrupted(self._number) from None

    def _received(self, number: int, frame: FrameType | None) -> None:
        first, self._number, self._by_peer = self._number is None or self._by_peer, number, False
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
            deadline = time.monotonic() + self._seconds
            while time.monotonic() < deadline:
                os.set_blocking(self._reading, False)
                if reading.read(1) == b"":  # the other end is closed: the command has ended
                    return
                time.sleep(0.05)
        print(f"\nstopped: saving took over {self._seconds:.0f} s and was given up", file=sys.stderr, flush=True)
        os._exit(128 + number[0])
