"""Child processes that end with this process, also after a crash, and services that are restarted when they fail."""

from __future__ import annotations

import logging
import os
import re
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from mobile_r1_jax.phones.phone import PhonesUnavailable

_STOP_SECONDS = 2.0
_TAIL = 10_000  # bytes
_CHATTER = re.compile(r" [VDI] adb +: ")  # what adb logs when nothing is wrong
_MOST_ENDS, _WINDOW_SECONDS = 5, 60.0

# The shell's standard input ends when our process does, also after SIGKILL. The shell then kills the command, which may
# be frozen, and its group: itself and the children of the command. If the command ends first, the shell ends with its
# exit status.
_GUARD = """
exec 3<&0
"$@" <&3 3<&- & child=$!
exec 2>/dev/null
{ while read -r _; do :; done <&3; kill -9 $child; } & guard=$!
wait $child; status=$?
[ $status -ne 137 ] || kill -9 -$$
kill $guard
exit $status
"""

log = logging.getLogger(__name__)


class Child:
    """A command in its own session, so that Ctrl-C does not reach it. The constructor starts it.

    Its standard input stays open until this process ends. Raises OSError if no process can be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            start_new_session=True,
        )
        self._closing = threading.Lock()

    @property
    def group(self) -> int:
        """The id of the process group that holds the command."""
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def first_line(self, seconds: float) -> bytes:
        """Return the first line of the standard output; b"" if the command ended or wrote no line within `seconds`."""
        assert self._process.stdout is not None
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        return self._process.stdout.readline() if poll.poll(1000 * seconds) else b""

    def last_words(self) -> str:
        """Return how the command ended (if it did) and the last three lines of its standard error, in one line."""
        ending = ["no answer"]
        with suppress(subprocess.TimeoutExpired):
            status = self._process.wait(timeout=0.5)  # the shell may need a moment to notice the end of the command
            number = -status if status < 0 else status - 128  # the shell's status for a command that a signal killed
            ending = [f"killed by signal {number}" if 0 < number < signal.NSIG else f"exit status {status}"]
        size = os.fstat(self._errors.fileno()).st_size
        tail = os.pread(self._errors.fileno(), _TAIL, max(size - _TAIL, 0)).decode(errors="replace").splitlines()
        whole = tail[1:] if size > _TAIL else tail
        lines = [line.strip()[:200] for line in whole if line.strip() and not _CHATTER.search(line)]
        return "; ".join([*ending, *lines[-3:]])

    def close(self) -> None:
        """End the command and wait for its end; kill it if it does not end. A second call does nothing."""
        with self._closing:
            for _ in range(2):
                with suppress(subprocess.TimeoutExpired):
                    # Close the standard input, read the output until every process has closed it, then reap the shell.
                    self._process.communicate(timeout=_STOP_SECONDS)
                    break
                with suppress(ProcessLookupError):
                    os.killpg(self.group, signal.SIGKILL)


class Service(Protocol):
    """A service that a child process offers."""

    child: Child

    def answers(self, seconds: float) -> bool:
        """Return whether the process runs and answers within `seconds`."""
        ...

    def close(self) -> None: ...


S = TypeVar("S", bound=Service)


class SupervisedService(Generic[S]):
    """A service that is restarted when it has ended or does not answer.

    `start` raises PhonesUnavailable or OSError on failure; the constructor then raises PhonesUnavailable.
    """

    def __init__(self, name: str, start: Callable[[], S]) -> None:
        self._name, self._start = name, start
        self._ends: deque[float] = deque(maxlen=_MOST_ENDS)
        self._closed = False
        self.service = self._started()

    def repair(self, seconds: float) -> bool:
        """Restart the service unless it answers within `seconds`. Return whether it was restarted.

        Raises PhonesUnavailable when the service has ended five times within a minute, and after `close`.
        """
        if self.service.answers(seconds):
            return False
        words = self.service.child.last_words()
        self.service.close()
        while True:
            self._count_end(words)
            log.warning("%s: %s; restarting it", self._name, words)
            try:
                self.service = self._started()
            except PhonesUnavailable as error:
                words = str(error)
            else:
                if not self._closed:
                    return True
                self.service.close()

    def close(self) -> None:
        """End the service without a restart."""
        self._closed = True
        self.service.close()

    def _started(self) -> S:
        try:
            return self._start()
        except OSError as error:
            raise PhonesUnavailable(f"{self._name}: {error}") from error

    def _count_end(self, words: str) -> None:
        if self._closed:
            raise PhonesUnavailable(f"{self._name}: closed")
        self._ends.append(time.monotonic())
        if len(self._ends) == _MOST_ENDS and self._ends[-1] - self._ends[0] < _WINDOW_SECONDS:
            raise PhonesUnavailable(
                f"{self._name}: ended {_MOST_ENDS} times within {_WINDOW_SECONDS:.0f} s, the last time: {words}"
            )
