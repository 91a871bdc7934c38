"""The page in a real browser. Needs chromium: apt-get install chromium."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobile_r1_jax.agent.actions import Click, Terminate
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.viewer import write_report

pytestmark = pytest.mark.slow
MODEL = Frame("model", 112, 224)
GREY, MARK = (96, 96, 96), (255, 47, 135)  # the screenshots' and the marks' colours


def browse(page: Path, tmp_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser, "this test needs chromium: apt-get install chromium"
    quiet = ("quic", "gpu", "background-networking", "component-update", "sync")
    command = [browser, "--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in quiet)]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=3000"]
    return subprocess.run([*command, *flags, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)


def test_tap_is_drawn_at_its_position(run: Path, play: Callable[..., None], make, tmp_path: Path) -> None:
    play("evaluation-base", make(Click(Point(84, 168, MODEL))))
    picture = tmp_path / "page.png"
    said = browse(write_report(run), tmp_path, f"--screenshot={picture}", "--window-size=1000,1400")
    assert "CONSOLE" not in said.stderr, said.stderr
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    screen, mark = (np.argwhere(np.abs(pixels - colour).max(-1) <= 2) for colour in (GREY, MARK))
    left, top = screen[:, 1].min(), screen[:, 0].min()
    assert (screen[:, 1].max() + 1 - left, screen[:, 0].max() + 1 - top) == (224, 448)  # twice its pixels
    middle = (mark.min(0) + mark.max(0) + 1) / 2 - (top, left)
    assert middle == pytest.approx((2 * 168.5, 2 * 84.5), abs=1)  # (y, x)


def test_page_opens_at_the_evaluation_of_the_last_policy(
    run: Path, play: Callable[..., None], make, tmp_path: Path
) -> None:
    for part in ("evaluation-1", "evaluation-2", "task_level"):
        play(part, make(Terminate("success"), task=part), make(Terminate("failure"), task=part))
    said = browse(write_report(run), tmp_path, "--dump-dom")
    assert "CONSOLE" not in said.stderr, said.stderr
    articles = [line.split(">")[0] for line in said.stdout.split("<article ")[1:]]
    assert {'data-part="evaluation-2"' in one: 'hidden=""' in one for one in articles} == {True: False, False: True}
    assert "2 of 6 on this page" in said.stdout
