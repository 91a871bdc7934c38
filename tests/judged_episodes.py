"""Finished episodes for several files of tests to judge."""

import io
from dataclasses import replace

from PIL import Image

from mobile_r1_jax.agent.actions import Malformed, Terminate, Wait
from mobile_r1_jax.agent.outcome import Outcome
from mobile_r1_jax.agent.progress import Progress
from mobile_r1_jax.agent.responses import Response
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, Turn
from mobile_r1_jax.rewards import Evidence

DONE, NOT_DONE, UNKNOWN = Outcome.DONE, Outcome.NOT_DONE, Outcome.UNKNOWN
MOVE, CLAIM = Response("", "", Wait(1)), Response("", "", Terminate("success"))


def screenshot(shade: int) -> Screenshot:
    file = io.BytesIO()
    Image.new("RGB", (8, 16), (shade, 0, 0)).save(file, "PNG")
    return Screenshot(file.getvalue())


def trajectory(screens: str, progress: Progress | None = None, ending: Ending = Ending.SUCCESS) -> Trajectory:
    """One turn per letter; equal letters are equal screens."""
    turns = tuple(Turn(screenshot(ord(letter)), f"answer on {letter}") for letter in screens)
    return Trajectory("buy milk", "Shop", "you drive a phone", turns, ending, progress=progress)


def evidence(
    screens: str, outcome: Outcome = UNKNOWN, answers: tuple[Response | Malformed, ...] = (), steps: int | None = None
) -> Evidence:
    """Return an episode on a phone that does not report progress."""
    return Evidence(replace(trajectory(screens), outcome=outcome), answers, steps)
