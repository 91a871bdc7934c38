"""The command of the simulator: phones for people and for programs, driven by the adb command line."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mobile_r1_jax.phones.adb.server import adb_path
from mobile_r1_jax.phones.adb.stream import ServerAddress
from mobile_r1_jax.phones.simulator.apps import APPS, TEMPLATES
from mobile_r1_jax.phones.simulator.named_tasks import find_task, named_tasks
from mobile_r1_jax.phones.simulator.tasks import place

COMMAND = [sys.executable, "-m", "mobile_r1_jax.phones.simulator"]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return start(*arguments) -> the process, without standard input; it ends with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = ["env", "--default-signal=INT", *COMMAND, *arguments]  # a shell's background jobs ignore Ctrl-C
        started.append(subprocess.Popen(command, text=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def printed(process: subprocess.Popen[str]) -> str:
    """Return the printed text up to its last line."""
    assert process.stdout is not None
    lines = []
    while not lines or "simulator progress" not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], process.communicate()
    return "".join(lines)


@pytest.fixture
def adb(server: ServerAddress) -> Callable[..., str]:
    def adb(*arguments: str) -> str:
        command = [adb_path(), "-H", server.host, "-P", str(server.port), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    return adb


def free_ports(count: int) -> int:
    """Return the first of `count` consecutive free ports."""
    for first in range(20_000, 30_000, count):
        with suppress(OSError):
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
            return first
    raise AssertionError


def test_printed_commands_work(start: Start, adb: Callable[..., str]) -> None:
    first = free_ports(2)
    text = printed(start("--phones=2", f"--port={first}", "--size=216x480", "--android=12"))
    assert text.startswith("2 simulated phones: 216x480, Android 12. Ctrl-C to stop.\n")
    assert re.findall(r"^  adb connect (\S+)$", text, re.MULTILINE) == [f"127.0.0.1:{first + k}" for k in range(2)]
    for line in re.findall(r"^  adb (connect .*)$", text, re.MULTILINE):
        assert "connected to" in adb(*line.split())
    shell = [line.split("  #")[0].split() for line in re.findall(r"^  adb (-s .* shell .*)$", text, re.MULTILINE)]
    tap, tasks, task, progress = (adb(*words) for words in shell)
    assert tap == ""
    assert "send Anna Hello\tSend Hello to Anna\n" in tasks
    assert task == "Send Hello to Anna\n"
    assert json.loads(progress)["done"] is False
    assert f"127.0.0.1:{first}\tdevice" in adb("devices")


def test_task_status_is_done_after_the_task_was_done(start: Start, adb: Callable[..., str]) -> None:
    phone = re.findall(r"adb connect (\S+)", printed(start("--size=216x480")))[0]
    adb("connect", phone)
    assert adb("-s", phone, "shell", "cmd simulator task open_app Shop") == "Open Shop\n"
    assert json.loads(adb("-s", phone, "shell", "cmd simulator progress"))["done"] is False
    adb("-s", phone, "shell", "monkey -p com.sim.shop 1")
    assert json.loads(adb("-s", phone, "shell", "cmd simulator progress"))["done"] is True


@pytest.mark.parametrize("name", ["send Anna", "send Anna Goodbye", "sned Anna Hello", "'send  Anna Hello'", "x;y"])
def test_unknown_task_is_a_one_line_error_without_effect(
    start: Start, adb: Callable[..., str], server: ServerAddress, name: str
) -> None:
    phone = re.findall(r"adb connect (\S+)", printed(start("--size=216x480")))[0]
    adb("connect", phone)
    before = adb("-s", phone, "shell", "cmd simulator state")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        adb("-s", phone, "shell", f"cmd simulator task '{name}'" if ";" in name else f"cmd simulator task {name}")
    assert re.fullmatch(
        r"simulator: no task is named '.*'; the closest is '.*', and `tasks` lists all\n", caught.value.stderr
    )
    assert name == "x;y" or "closest is 'send Anna " in caught.value.stderr
    assert adb("-s", phone, "shell", "cmd simulator state") == before


def test_every_listed_task_can_be_started() -> None:
    listed = subprocess.run([*COMMAND, "--tasks"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split("\t")[0] for line in listed] == sorted(named_tasks())
    assert {name.split(" ")[0] for name in named_tasks()} == set(TEMPLATES)
    for line in listed:
        name, instruction = line.split("\t")
        assert find_task(name).instruction == instruction == place(dict(find_task(name).setup)).instruction


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 0)])
@pytest.mark.parametrize("page", [(), ("--page",)])
def test_simulator_runs_without_input_until_a_signal(
    start: Start, number: signal.Signals, status: int, page: tuple[str, ...]
) -> None:
    process = start("--size=112x224", *page)
    printed(process)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (status, "")


def test_live_page_is_at_the_printed_address(start: Start) -> None:
    text = printed(start("--page", "--phones=3", "--size=112x224"))
    (url,) = re.findall(r"http://127\.0\.0\.1:\d+/", text)
    assert b"<title>Simulated phones</title>" in urllib.request.urlopen(url, timeout=10).read()
    addresses = [phone["name"] for phone in json.loads(urllib.request.urlopen(f"{url}phones", timeout=10).read())]
    assert addresses == re.findall(r"adb connect (\S+)", text)


def test_json_mode_prints_one_line_and_ends_with_standard_input() -> None:
    with subprocess.Popen([*COMMAND, "--json", "--phones=2"], stdin=-1, stdout=-1, stderr=-1) as process:
        assert process.stdin is not None and process.stdout is not None
        assert len(json.loads(process.stdout.readline())["ports"]) == 2
        process.stdin.close()
        assert process.wait(10) == 0 and process.stdout.read() == b""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--port 80", "argument --port: port '80': must be from 1024 to 65535"),
        ("--port 65536", "argument --port: port '65536': must be"),
        ("--port 7001x", "argument --port: port '7001x': must be"),
        ("--phones 2 --port 65535", "port 65535: 2 phones need ports up to 65536"),
        ("--json --page", "not allowed with argument"),
    ],
)
def test_wrong_arguments_are_one_line_errors(arguments: str, words: str) -> None:
    answer = subprocess.run([*COMMAND, *arguments.split()], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert answer.returncode == 2 and not answer.stdout
    assert words in answer.stderr.splitlines()[-1] and "Traceback" not in answer.stderr


def test_occupied_port_is_a_one_line_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = subprocess.run([*COMMAND, f"--port={port}"], capture_output=True, text=True)
    assert answer.returncode == 1 and not answer.stdout and "Address already in use" in answer.stderr
    assert str(port) in answer.stderr and answer.stderr.count("\n") == 1


def test_loop_in_the_documentation_works(
    start: Start, adb: Callable[..., str], server: ServerAddress, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    phone = re.findall(r"adb connect (\S+)", printed(start("--size=216x480")))[0]
    adb("connect", phone)
    (tmp_path / "adb").symlink_to(adb_path())
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))

    def run_my_agent(serial: str, instruction: str) -> None:
        app = instruction.removeprefix("Open ")
        if app != "Shop":
            adb("-s", serial, "shell", f"monkey -p {APPS[app.lower()].package} 1")

    page = (Path(__file__).parents[2] / "docs/howto/test-an-agent.md").read_text(encoding="utf-8")
    (loop,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {"run_my_agent": run_my_agent}
    exec(loop.replace("127.0.0.1:7001", phone), names)
    assert len(names["outcomes"]) == 7
    assert [name for name, done in names["outcomes"].items() if not done] == ["open_app Shop"]
