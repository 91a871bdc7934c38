"""The processes of a run find each other, agree, stop together, and end together: real processes and real sockets."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "one_host.py"
Start = Callable[..., subprocess.Popen[str]]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start process `index` of `count`; all processes of a test share an address, and are ended with it."""
    address, started = f"localhost:{free_port()}", []

    def start(count: int, index: int, what: str, wait: float = 20) -> subprocess.Popen[str]:
        command = [sys.executable, str(SCRIPT), address, str(count), str(index), str(wait), what]
        started.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ends(process: subprocess.Popen[str], seconds: float = 30) -> tuple[int, list[str]]:
    output, _ = process.communicate(timeout=seconds)
    return process.returncode, output.splitlines()


def test_shares_are_disjoint_and_gather_returns_all_values(start: Start) -> None:
    processes = [start(3, index, "share") for index in (2, 0, 1)]
    assert [ends(process) for process in processes] == [(0, ["[0, 1, 2, 3, 4, 5, 6] from 0"])] * 3


@pytest.mark.parametrize(
    ("count", "there", "named"),
    [
        (2, [0], "process 1 of 2 did not come"),
        (4, [0, 2], "processes 1, 3 of 4 did not come"),
        (2, [1], "process 0 did not answer"),
        (3, [2, 0], "process 1 of 3 did not come"),
    ],
)
def test_missing_process_is_a_one_line_error_after_a_bounded_time(start: Start, count, there, named) -> None:
    began = time.monotonic()
    for process in [start(count, index, "share", 2) for index in there]:
        status, lines = ends(process)
        assert status == 1 and len(lines) == 1 and named in lines[0] and "within 2 s" in lines[0], lines
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("places", "line"),
    [
        ([(2, 0), (3, 1)], "hosts.count is 2 on process 0 and 3 on "),
        ([(3, 0), (3, 1), (3, 1)], "both say that they are process 1; give every host its own hosts.index"),
        ([(2, 0), (5, 4)], "hosts.count is 2 on process 0 and 5 on "),
    ],
)
def test_different_counts_are_a_one_line_error(start: Start, places, line) -> None:
    for process in [start(count, index, "share", 15) for count, index in places]:
        status, lines = ends(process)
        assert status == 1 and len(lines) == 1 and line in lines[0], lines


def test_surplus_process_is_refused_and_the_others_continue(start: Start) -> None:
    done = [ends(process) for process in [start(2, index, "share", 4) for index in (0, 1, 1)]]
    assert done[0][0] == 0 and sorted(status for status, _ in done[1:]) == [0, 1]
    ((line,),) = (lines for status, lines in done if status == 1)
    assert "give each its own hosts.index" in line or "did not answer" in line


def message(data: bytes) -> bytes:
    return len(data).to_bytes(8, "big") + data


CALLERS = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\0" * 9,
    b"\0" * 7 + b"\x20",  # a length, and silence
    b"\xff" * 8,
    message(b"[" * 4000),
    message(b'["hello", 5]'),
    message(b'["hello", [1]]'),
    message(b'["hello", ["1", 2, "x"]]'),
    message(b'{"hello": 1, "you": 2}'),
    message(b"\xff\xfe"),
]


@pytest.mark.parametrize("stays", [False, True])
def test_foreign_connections_are_ignored_without_delay(start: Start, stays: bool) -> None:
    first = start(2, 0, "share")
    port = int(first.args[2].split(":")[1])
    with ExitStack() as open_calls:
        for data in (*CALLERS, b""):
            for _ in range(100):
                try:
                    other = open_calls.enter_context(socket.create_connection(("localhost", port), 5))
                    other.sendall(data)
                    break
                except ConnectionRefusedError:
                    time.sleep(0.1)
            if not stays:
                open_calls.close()
        assert ends(start(2, 1, "share"))[0] == ends(first)[0] == 0  # one after the other, they would take 100 s


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", message(b"[1, 2]"), message(b'["welcome"]')]
)
def test_foreign_server_at_the_coordinator_is_a_one_line_error(start: Start, answer: bytes) -> None:
    process = start(2, 1, "share", 5)
    with socket.create_server(("localhost", int(process.args[2].split(":")[1]))) as server:
        connection, _ = server.accept()
        with connection:
            connection.sendall(answer)
    status, lines = ends(process)
    assert status == 1 and len(lines) == 1 and "is no process of this run" in lines[0], lines


@pytest.mark.parametrize("values", ["2x4:2x4:4x2", "a:b:a", "1:2:3"])
def test_different_facts_are_an_error_with_host_names_on_every_host(start: Start, values: str) -> None:
    first, *others = values.split(":")
    index, other = next((index, other) for index, other in enumerate(others, 1) if other != first)
    for process in [start(3, index, f"differ:{values}") for index in range(3)]:
        status, lines = ends(process)
        assert status == 1 and len(lines) == 1, lines
        assert f"mesh is {first} on process 0" in lines[0] and f"{other} on process {index}" in lines[0]


@pytest.mark.parametrize("killed", [0, 1, 2])
def test_killed_process_ends_all_others_with_a_line_that_names_it(start: Start, killed: int) -> None:
    processes = [start(3, index, "wait") for index in range(3)]
    for process in processes:
        assert process.stdout.readline() == "waiting\n"
    processes[killed].kill()
    began = time.monotonic()
    for index, process in enumerate(processes):
        if index != killed:
            status, lines = ends(process)
            assert status == 1 and len(lines) == 1, lines
            assert f"error: process {killed} (" in lines[0] and "goes on from its last checkpoint" in lines[0]
    assert time.monotonic() - began < 5


def test_failed_process_ends_the_others_with_its_reason(start: Start) -> None:
    processes = [start(3, index, "raise") for index in range(3)]
    lines = [ends(process) for process in processes]
    assert lines[1] == (1, ["error: this host has no disk"])
    for index in (0, 2):
        assert lines[index] == (1, [f"error: process 1 ({socket.gethostname()}) failed: this host has no disk"])


@pytest.mark.parametrize("told", [[0], [1], [2], [0, 1, 2]])
def test_signal_to_any_process_stops_all_after_the_same_update(start: Start, told: list[int]) -> None:
    processes = [start(3, index, "play") for index in range(3)]
    for process in processes:
        assert [process.stdout.readline() for _ in range(2)] == ["update 1\n", "update 2\n"]
    began = time.monotonic()
    for index in told:
        processes[index].send_signal(signal.SIGTERM)
    for process in processes:
        assert ends(process) == (128 + signal.SIGTERM, ["saved after update 2", "stopped by SIGTERM"])
    assert time.monotonic() - began < 5
