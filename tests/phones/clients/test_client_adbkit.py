"""adbkit, a client for Node, drives the simulated phone. Install it by `npm install` in this folder."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from served_phones import Served

pytestmark = pytest.mark.slow


def test_adbkit_drives_the_phone(served: Served, chat: str, sent: Callable[[], list[str]]) -> None:
    command = ["node", "adbkit.js", str(served.server.port), chat, str(served.ports[1])]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, f"node adbkit.js: {done.stderr[-500:]}; run npm install in {Path(__file__).parent}"
    answers = json.loads(done.stdout)
    assert set(answers.pop("devices")) == set(served.serials)
    assert "com.sim.shop" in answers.pop("focus")
    assert sent() == ["Hello"]
    assert answers == {
        "shell": "out\n1\n",
        "model": "Simulated Phone",
        "push": None,
        "stat": 300_000,
        "list": ["up"],
        "pull": True,
        "picture": "PNG",
        "send": "",
        "start": True,
        "installed": [True, False],
        "booted": True,
        "connect": "over tcp\n",
        "reboot": True,
        "back": "back\n",
    }
