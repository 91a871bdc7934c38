"""The guard's question in a real pseudo-terminal."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from mobile_r1_jax.agent.actions import Click
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.phones.guard.judging import Judgement
from mobile_r1_jax.phones.guard.terminal import TerminalAsk
from mobile_r1_jax.tasks.task import Risk
import sys, threading
ask = TerminalAsk()
if "stop" in sys.argv:
    threading.Timer(0.5, ask.stop).start()
judgement = Judgement(frozenset({Risk.PAYMENT}), ("Pay \\x1b[2J now", "\\u202e$9"), "com.acme.shop")
print("ANSWER", ask(Click(Point(5, 6, Frame("device", 112, 224))), judgement), "END")
"""


TYPED = [
    ("y\n", True),
    ("YES\n", True),
    ("n\n", False),
    ("\n", False),
    ("yeah\n", False),
    ("\x04", False),
    (None, False),
]


@pytest.mark.parametrize(("typed", "answer"), [*TYPED, (None, False)])
def test_only_yes_in_a_terminal_confirms(typed: str | None, answer: bool) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-c", PROGRAM, *([] if typed else ["stop"])]
    child = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=Path(__file__).parents[2])
    os.close(slave)
    screen = read_until(master, "[y/N]")
    if typed:
        os.write(master, typed.encode())
    screen += read_until(master, "END")
    assert child.wait(10) == 0
    os.close(master)
    assert f"ANSWER {answer} END" in screen
    assert "click, [5, 6]" in screen and '"Pay [2J now"' in screen and "com.acme.shop" in screen
    assert "\x1b" not in screen and "\u202e" not in screen


def read_until(master: int, words: str) -> str:
    text = ""
    while words not in text:
        try:
            data = os.read(master, 1024)
        except OSError:  # the program has ended
            break
        text += data.decode()
    return text
