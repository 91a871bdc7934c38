"""Messages between the processes of a run over TCP: process 0 is the hub, every other one has a link to it.

They carry JSON of a few kilobytes. Arrays travel between devices, by JAX.
"""

import json
import queue
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Any

from mobile_r1_jax.runtime.places import Place, PlaceError

LENGTH = struct.Struct(">Q")
MOST_BYTES, MOST_HELLO = 2**30, 4096
HELLO_SECONDS = 10.0
RETRY_SECONDS = 0.2
SILENT_SECONDS = 30  # after which a host that does not answer any more is lost
TCP_OPTIONS = {
    "TCP_NODELAY": 1,
    "TCP_KEEPIDLE": SILENT_SECONDS // 3,
    "TCP_KEEPINTVL": SILENT_SECONDS // 6,
    "TCP_KEEPCNT": 4,
    "TCP_USER_TIMEOUT": 1000 * SILENT_SECONDS,
}


class Link:
    """A connection to another process. `name`: its host. Any thread may send; one thread receives."""

    def __init__(self, connection: socket.socket, name: str = "") -> None:
        self.connection, self.name = connection, name
        self._sending = threading.Lock()
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in TCP_OPTIONS.items():
            if hasattr(socket, option):  # not every system has all of them
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    def send(self, kind: str, value: Any = None) -> None:
        """Send a message; do nothing if the other end is closed, which the receiving thread notices."""
        data = json.dumps([kind, value]).encode()
        with self._sending, suppress(OSError):
            self.connection.sendall(LENGTH.pack(len(data)) + data)

    def receive(self, seconds: float | None = None, most: int = MOST_BYTES) -> tuple[str, Any] | None:
        """Wait for a message and return its kind and value; None if the other end is closed or sends anything else.

        seconds: for the whole message; None: no limit. most: bytes of it."""
        deadline = None if seconds is None else time.monotonic() + seconds
        try:
            (length,) = LENGTH.unpack(self._read(LENGTH.size, deadline))
            if length > most:
                return None
            kind, value = json.loads(self._read(length, deadline))
        except (OSError, ValueError, TypeError, EOFError, RecursionError):
            return None
        return kind, value

    def _read(self, length: int, deadline: float | None) -> bytes:
        parts = []
        while length:
            if deadline is not None:
                self.connection.settimeout(max(0.001, deadline - time.monotonic()))
            part = self.connection.recv(min(length, 2**20))
            if not part:
                raise EOFError
            parts.append(part)
            length -= len(part)
        if deadline is not None:
            self.connection.settimeout(None)
        return b"".join(parts)

    def close(self) -> None:
        """Close the connection; the other end receives None."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()


def call_roll(place: Place, seconds: float) -> dict[int, Link]:
    """Return the links of this process, by the index at their other end, when all processes of the run are there.

    Raise PlaceError in one line: a process is missing after `seconds`, two have one index, or they count differently.
    """
    return _wait_for_all(place, seconds) if place.index == 0 else {0: _report(place, seconds)}


def _wait_for_all(place: Place, seconds: float) -> dict[int, Link]:
    """Accept the links of all other processes, and tell each one the result."""
    deadline, links, problem = time.monotonic() + seconds, {}, None
    hellos: queue.SimpleQueue[tuple[int, int, Link]] = queue.SimpleQueue()
    with _listen(place) as listening:
        threading.Thread(target=_accept, args=(listening, hellos), daemon=True).start()
        while len(links) < place.count - 1 and problem is None:
            try:
                index, count, link = hellos.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                missing = [str(index) for index in range(1, place.count) if index not in links]
                names = f"process{'es' * (len(missing) > 1)} {', '.join(missing)}"
                problem = f"{names} of {place.count} did not come within {seconds:.0f} s (hosts.wait); start all hosts"
                break
            problem = _problem(place, index, count, link, links)
            if problem is not None:
                link.send("refused", problem)
            links.setdefault(index, link)
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)  # ends the thread
    threading.Thread(target=_turn_away, args=(hellos,), daemon=True).start()
    for link in links.values():
        link.send("welcome" if problem is None else "refused", problem)
    if problem is not None:
        raise PlaceError(f"hosts: {problem}")
    return links


def _accept(listening: socket.socket, hellos: queue.SimpleQueue[tuple[int, int, Link]]) -> None:
    """Accept connections, each in a thread: whatever calls may say nothing for long."""
    with suppress(OSError):  # the socket is closed: all processes are there
        while True:
            with suppress(ConnectionError):
                connection, address = listening.accept()
                threading.Thread(target=_hear_hello, args=(connection, address[0], hellos), daemon=True).start()


def _hear_hello(connection: socket.socket, address: str, hellos: queue.SimpleQueue[tuple[int, int, Link]]) -> None:
    """Pass on a process that says hello. Close the connection of anything else, such as a port scanner."""
    link = Link(connection, address)
    match link.receive(HELLO_SECONDS, MOST_HELLO):
        case "hello", [int(index), int(count), str(name)]:
            link.name = name
            hellos.put((index, count, link))
        case _:
            link.close()


def _turn_away(hellos: queue.SimpleQueue[tuple[int, int, Link]]) -> None:
    """Refuse the processes that have called after all others."""
    while True:
        index, _, link = hellos.get()
        link.send("refused", f"all processes have come before this process {index}; give each its own hosts.index")
        link.close()


def _problem(place: Place, index: int, count: int, link: Link, links: dict[int, Link]) -> str | None:
    """Return what is wrong with a process that says hello, or None."""
    if count != place.count:
        return f"hosts.count is {place.count} on process 0 and {count} on {link.name}; start all with the same number"
    if not 0 < index < count or index in links:
        other = links[index].name if index in links else "this host"
        return f"{other} and {link.name} both say that they are process {index}; give every host its own hosts.index"
    return None


def _listen(place: Place) -> socket.socket:
    port = int(place.coordinator.rpartition(":")[2])
    try:
        if socket.has_dualstack_ipv6():
            with suppress(OSError):
                return socket.create_server(
                    ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=place.count
                )
        return socket.create_server(("", port), backlog=place.count)
    except OSError as error:
        raise PlaceError(
            f"hosts.coordinator: process 0 cannot listen on port {port} ({error.strerror}); choose another port"
        ) from error


def _report(place: Place, seconds: float) -> Link:
    """Connect to process 0, and wait until it has heard of all processes."""
    deadline = time.monotonic() + seconds
    host, _, port = place.coordinator.rpartition(":")
    while True:
        try:
            connection = socket.create_connection((host.strip("[]"), int(port)), max(0.1, deadline - time.monotonic()))
            break
        except (OSError, UnicodeError) as error:  # the second for a name that is none
            if time.monotonic() > deadline:
                reason = getattr(error, "strerror", None) or error
                raise PlaceError(
                    f"hosts: process 0 did not answer at {place.coordinator} within {seconds:.0f} s (hosts.wait): "
                    f"{reason}; start it, or correct hosts.coordinator"
                ) from error
            time.sleep(RETRY_SECONDS)
    link = Link(connection, host)
    link.send("hello", [place.index, place.count, socket.gethostname()])
    match link.receive(seconds + HELLO_SECONDS):
        case "welcome", None:
            return link
        case "refused", str(problem):
            raise PlaceError(f"hosts: {problem}")
    raise PlaceError(
        f"hosts: what answers at {place.coordinator} is no process of this run, or it ended before all hosts were "
        "there; look at process 0, or correct hosts.coordinator"
    )
