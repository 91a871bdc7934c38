"""Ctrl-C and SIGTERM in a process of its own: it saves, it is bounded, and it exits as shells expect."""

import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import asyncio, ctypes, hashlib, os, time
from mobile_r1_jax.runtime import interrupts
from mobile_r1_jax.runtime.interrupts import Interrupted, Interrupts

interrupts.IDLE_SECONDS = 0.5

async def work():
    try:
        print("working", flush=True)
        {work}
    except asyncio.CancelledError:
        print("saving", flush=True)
        {saving}
        print("saved", flush=True)
        raise

try:
    with Interrupts(seconds={limit}) as watching:
        {before}
        watching.run(work())
        {after}
except Interrupted as error:
    print("stopped by", error, flush=True)
    os._exit(error.status)
"""
IN_C = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"  # where Python handles no signal, as in a compilation
NOTHING = {"work": "await asyncio.sleep(60)", "saving": "pass", "before": "pass", "after": "pass", "limit": "1.0"}


def interrupted(*numbers: int, pause: float = 0.3, **parts: str) -> tuple[int, list[str], float]:
    """Start the program, send it these signals once it works; return its exit status, its lines and the seconds."""
    program = PROGRAM.format(**NOTHING | parts)
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "working\n"
    began = time.monotonic()
    for number in numbers:
        time.sleep(pause)
        process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    return process.returncode, output.splitlines(), time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_cancels_the_work_which_then_saves(number: int) -> None:
    status, lines, _ = interrupted(number)
    assert (status, lines) == (128 + number, ["saving", "saved", f"stopped by {number.name}"])


def test_process_waits_for_saving() -> None:
    assert interrupted(signal.SIGTERM, saving="await asyncio.sleep(0.5)")[1][-2:] == ["saved", "stopped by SIGTERM"]


@pytest.mark.parametrize(
    "parts",
    [
        {"saving": "await asyncio.sleep(60)"},
        {"saving": "time.sleep(60)"},
        {
            "before": "watching.watch(lambda: True)",
            "work": IN_C,
        },
        {"work": "ctypes.PyDLL(None).usleep(300_000); await asyncio.sleep(60)", "saving": "time.sleep(60)"},
    ],
    ids=["awaits", "blocks", "in C", "holds the lock of Python"],
)
def test_process_gives_up_slow_saving(parts: dict[str, str]) -> None:
    status, lines, seconds = interrupted(signal.SIGTERM, **parts)
    assert status == 128 + signal.SIGTERM and seconds < 10
    assert lines[-1] == "stopped: saving took over 1 s and was given up" and "saved" not in lines


@pytest.mark.parametrize(
    "parts",
    [
        {"work": IN_C},
        {"before": f"print('working', flush=True); {IN_C}"},
        {"before": "watching.watch(lambda: False)", "work": IN_C},
    ],
    ids=["working", "starting", "saved"],
)
def test_process_does_not_wait_for_compilation_without_unsaved_work(parts: dict[str, str]) -> None:
    status, lines, seconds = interrupted(signal.SIGTERM, limit="30.0", **parts)
    assert status == 128 + signal.SIGTERM and seconds < 20
    assert lines[-1] == "stopped by SIGTERM, with nothing to save; to go on, start the same command again"


def test_process_does_not_wait_for_busy_threads() -> None:
    work = "await asyncio.to_thread(time.sleep, 60)"
    status, lines, seconds = interrupted(signal.SIGTERM, work=work, limit="30.0")
    assert (status, lines) == (128 + signal.SIGTERM, ["saving", "saved", "stopped by SIGTERM"]) and seconds < 20


def test_second_signal_does_not_wait_for_saving() -> None:
    status, lines, seconds = interrupted(signal.SIGINT, signal.SIGINT, saving="time.sleep(60)")
    assert status == 128 + signal.SIGINT and "saved" not in lines and seconds < 5


def test_signal_without_unsaved_work_ends_the_command() -> None:
    before = "print('working', flush=True); time.sleep(60)"
    assert interrupted(signal.SIGTERM, before=before)[:2] == (128 + signal.SIGTERM, ["stopped by SIGTERM"])
    work, after = "pass", "time.sleep(60)"
    assert interrupted(signal.SIGINT, work=work, after=after)[:2] == (128 + signal.SIGINT, ["stopped by SIGINT"])


def test_without_a_signal_nothing_changes() -> None:
    before = signal.getsignal(signal.SIGTERM)
    from mobile_r1_jax.runtime.interrupts import Interrupts

    async def work() -> int:
        return 3

    with Interrupts() as interrupts:
        assert interrupts.run(work()) == 3
    assert signal.getsignal(signal.SIGTERM) == before
