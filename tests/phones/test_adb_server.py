"""Our adb server and the simulator's process: they affect no other server and end with their parent."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from mobile_r1_jax.phones.adb.server import AdbServer
from mobile_r1_jax.phones.adb.stream import ask_server, states
from mobile_r1_jax.phones.providers.simulated import simulated_fleet


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def gone(port: int, within: float = 5.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not listens(port):
            return True
        time.sleep(0.02)
    return False


def test_own_server_answers_has_no_device_and_ends_afterwards() -> None:
    with contextlib.closing(AdbServer()) as server:
        address = server.address
        assert int(ask_server(address, "host:version", 2), 16) >= 41
        assert states(address, 2) == {}
    assert not listens(address.port)


def test_two_servers_run_at_once_without_the_default_server() -> None:
    before = listens(5037)
    with contextlib.closing(AdbServer()) as first, contextlib.closing(AdbServer()) as second:
        assert first.address.port != second.address.port
    assert listens(5037) == before


def test_exception_in_the_block_stops_the_server() -> None:
    with contextlib.suppress(KeyError), contextlib.closing(AdbServer()) as server:
        raise KeyError
    assert not listens(server.address.port)


@pytest.mark.parametrize("last_signal", [signal.SIGKILL, signal.SIGTERM])
def test_server_and_phones_end_with_a_crashed_parent(last_signal: signal.Signals) -> None:
    program = (
        "import time\n"
        "from mobile_r1_jax.phones.providers.simulated import simulated_fleet\n"
        "with simulated_fleet(1) as (phone,):\n"
        "    print(phone.server.port, int(phone.serial.split('-')[1]) + 1, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        ports = [int(word) for word in parent.stdout.readline().split()]
        assert len(ports) == 2 and all(map(listens, ports))
        os.kill(parent.pid, last_signal)
    assert all(map(gone, ports))


def test_32_phones_start_within_seconds_and_end_afterwards() -> None:
    started = time.monotonic()
    with simulated_fleet(32, seed=5) as phones:
        assert time.monotonic() - started < 10  # 0.2 s on an idle machine
        assert set(states(phones[0].server, 5).values()) == {"device"}
        assert len({phone.serial for phone in phones}) == 32
        assert all(phone.screenshot().width == 112 for phone in phones[::8])
        ports = [phones[0].server.port, int(phones[-1].serial.split("-")[1]) + 1]
    assert not any(map(listens, ports))


def test_simulator_process_imports_neither_jax_nor_other_slow_libraries() -> None:
    program = "import sys, mobile_r1_jax.phones.simulator.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"jax", "flax", "transformers", "torch", "numpy", "adbutils"} & set(loaded)


def test_impossible_screen_size_is_a_one_line_error() -> None:
    command = [sys.executable, "-m", "mobile_r1_jax.phones.simulator", "--size", "112"]
    answer = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert answer.returncode == 2
    assert "screen size '112': must be WIDTHxHEIGHT" in answer.stderr.splitlines()[-1]


def test_screen_of_phone_size_works() -> None:
    with simulated_fleet(1, size=(1080, 2400)) as (phone,):
        screenshot = phone.screenshot()
        assert (screenshot.width, screenshot.height) == phone.size == (1080, 2400)
