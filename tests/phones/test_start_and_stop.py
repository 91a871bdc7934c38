"""Failed starts of phones are one-line errors; adb and the simulator end with the run."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from real_processes import command, members

from mobile_r1_jax.phones.phone import PhonesUnavailable
from mobile_r1_jax.phones.providers.simulated import simulated_fleet

START = """
import resource, sys
from mobile_r1_jax.phones.phone import PhonesUnavailable
from mobile_r1_jax.phones.providers.simulated import simulated_fleet
if len(sys.argv) > 1:
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
try:
    with simulated_fleet(200, (40, 40)):
        print("usable")
except PhonesUnavailable as error:
    print(error)
"""


def start(*arguments: str, **environment: str) -> str:
    """Return the output of a process that starts 200 phones."""
    command = [sys.executable, "-c", START, *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | environment)
    assert answer.returncode == 0 and not answer.stderr, answer.stderr
    return answer.stdout


@pytest.fixture
def adbutils(tmp_path: Path) -> Path:
    """Return a copy of adbutils with a replaceable adb."""
    spec = find_spec("adbutils")
    assert spec is not None and spec.origin is not None
    shutil.copytree(Path(spec.origin).parent, tmp_path / "adbutils", ignore=lambda *_: {"adb", "__pycache__"})
    return tmp_path / "adbutils"


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (None, 0, r"adb: there is no \S+/adb and PATH has no adb; install Android's platform-tools"),
        ("#!/bin/sh\n", 0o644, r"adb: \S+/adb is not executable and PATH has no adb; install .*"),
        ("#!/no/such/interpreter\n", 0o755, r"adb server: \S+/adb does not start: exit status 127; .*not found"),
        ("#!/bin/sh\necho 'adb is broken' >&2; exit 7\n", 0o755, r"adb server: .* exit status 7; adb is broken"),
        ("#!/bin/sh\necho 1; kill -11 $$\n", 0o755, r"adb server: \S+ does not start: killed by signal 11.*"),
    ],
)
def test_missing_or_broken_adb_is_a_one_line_error(
    adbutils: Path, content: str | None, mode: int, message: str
) -> None:
    adb = adbutils / "binaries" / "adb"
    if content is not None:
        adb.write_text(content)
        adb.chmod(mode)
    said = start(PYTHONPATH=f"{adbutils.parent}:{os.environ.get('PYTHONPATH', '')}", PATH="/no/such/directory")
    assert re.fullmatch(message + "\n", said), said


def test_hanging_adb_is_a_one_line_error_and_is_ended(adbutils: Path) -> None:
    adb = adbutils / "binaries" / "adb"
    adb.write_text(f"#!/bin/sh\necho $$ > {adbutils}/pid\nexec sleep 1000\n")
    adb.chmod(0o755)
    said = start(PYTHONPATH=f"{adbutils.parent}:{os.environ.get('PYTHONPATH', '')}")
    assert re.fullmatch(r"adb server: \S+ does not start: no answer\n", said), said
    assert not Path(f"/proc/{(adbutils / 'pid').read_text().strip()}").exists()


def test_adb_on_the_path_is_used_if_adbutils_has_none(adbutils: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    adb = tmp_path / "bin" / "adb"
    adb.write_text("#!/bin/sh\necho 'from the path' >&2; exit 1\n")
    adb.chmod(0o755)
    said = start(PYTHONPATH=f"{adbutils.parent}:{os.environ.get('PYTHONPATH', '')}", PATH=str(tmp_path / "bin"))
    assert said == f"adb server: {adb} does not start: exit status 1; from the path\n"


@pytest.mark.parametrize("limit", range(3, 24, 4))
def test_too_few_file_descriptors_are_a_one_line_error(limit: int) -> None:
    said = start(str(limit))
    assert re.fullmatch(r"(adb server|simulator): .*Too many open files.*\n", said), said


@pytest.mark.parametrize(
    ("count", "size", "words"),
    [
        (0, (112, 224), "number of phones '0': must be from 1 to 10000"),
        (1, (10, 10), "screen size 10x10: each side must have 40 to 9999 pixels"),
        (1, (112, 22400), "screen size 112x22400: each side"),
    ],
)
def test_simulator_that_ends_at_its_start_is_a_one_line_error(count: int, size: tuple[int, int], words: str) -> None:
    with pytest.raises(PhonesUnavailable, match=r"simulator: .* exit status 2") as caught, simulated_fleet(count, size):
        pass
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--phones 0", "argument --phones: number of phones '0': must be from 1 to 10000"),
        ("--phones -3", "argument --phones: number of phones '-3': must be from 1 to 10000"),
        ("--phones 1.5", "argument --phones: number of phones '1.5'"),
        ("--phones 70000", "argument --phones: number of phones '70000'"),
        ("--phones=", "argument --phones: number of phones ''"),
        ("--size 112", "argument --size: screen size '112': must be WIDTHxHEIGHT"),
        ("--size -1x224", "argument --size: expected one argument"),
        ("--size 0x224", "argument --size: screen size 0x224: each side"),
        ("--size 10x10", "argument --size: screen size 10x10: each side must have 40 to 9999 pixels"),
        ("--size 400x80", "argument --size: screen size 400x80: each side"),
        ("--seed one", "argument --seed: invalid int value: 'one'"),
        ("--listen 5", "unrecognized arguments: --listen 5"),
    ],
)
def test_impossible_arguments_of_the_simulator_are_one_line_errors(arguments: str, words: str) -> None:
    command = [sys.executable, "-m", "mobile_r1_jax.phones.simulator", *arguments.split()]
    answer = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert answer.returncode == 2 and not answer.stdout
    assert words in answer.stderr.splitlines()[-1] and "Traceback" not in answer.stderr


RUN = """
import signal, sys, time
from mobile_r1_jax.phones.providers.simulated import SimulatedPhones
from mobile_r1_jax.phones.settings import Timings
from contextlib import closing
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
with closing(SimulatedPhones(2, (112, 224), 0, Timings())) as source:
    print(source.adb.service.child.group, source.simulator.service.child.group, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_children_end_within_seconds_of_the_run(number: signal.Signals, frozen: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        groups = [int(word) for word in parent.stdout.readline().split()]
        assert len(groups) == 2
        for group in groups if frozen else ():
            os.kill(command(group), signal.SIGSTOP)
        parent.send_signal(number)
        parent.wait(8)
    until = time.monotonic() + 5
    while any(map(members, groups)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(members, groups))
