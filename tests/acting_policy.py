"""A policy that has memorized one episode: it opens Messages, opens the first chat, writes é, sends it, and ends.

The letter is outside ASCII, so typing it changes the phone's keyboard.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from users_phones import environment

from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, Turn, write_trajectories
from mobile_r1_jax.phones.simulator.device import Device

ROOT = Path(__file__).resolve().parent.parent
TINY_BASE = ROOT / "assets" / "tiny-base"
INSTRUCTION = "Write é"
STEPS: list[tuple[str, dict[str, object], Callable[[Device], object]]] = [
    ("Open Messages", {"action": "open", "text": "Messages"}, lambda phone: phone.launch("com.sim.messages")),
    ("Tap the chat", {"action": "click", "coordinate": [56, 42]}, lambda phone: phone.tap(56, 42)),
    ("Write é", {"action": "type", "text": "é"}, lambda phone: phone.type_text("é")),
    ("Tap Send", {"action": "click", "coordinate": [84, 154]}, lambda phone: phone.tap(84, 154)),
    ("Done", {"action": "terminate", "status": "success"}, lambda phone: None),
]
CONFIG = """
name: acting
stages: [format_finetuning]
system: "Phone. Task: {instruction}"
tell_effects: false
resizing: {scale: 1.0}
shapes: {prompt_tokens: [448], response_tokens: 40, windows: [2], screens: 8}
phones: {count: 1, most_turns: 6, simulated: {size: [112, 224]}}
format_finetuning: {updates: 50, batch: 5, micro_batch: 5, frozen: [vision], optimizer: {learning_rate: 1.0e-3}}
evaluation: {episodes: 0, unseen_app_episodes: 0}
"""


def episode() -> Trajectory:
    """Return the memorized episode, on the phone with seed 0."""
    phone, turns = Device(seed=0), []
    for sentence, arguments, act in STEPS:
        call = json.dumps({"name": "mobile_use", "arguments": arguments}, ensure_ascii=False)
        response = f"<think>{sentence}</think><action>{sentence}</action><tool_call>{call}</tool_call>"
        turns.append(Turn(Screenshot(phone.screenshot()), response))
        act(phone)
    return Trajectory(INSTRUCTION, "messages", "", tuple(turns), Ending.SUCCESS, coordinates="screenshot")


def train_acting_policy(folder: Path, cache: Path) -> Path:
    """Train the policy, and return its directory."""
    write_trajectories(folder / "annotated", [episode()])
    (folder / "acting.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "mobile_r1_jax.launch", f"--config={folder / 'acting.yaml'}", f"--folder={folder}"]
    command += [f"--policy={TINY_BASE}", f"--annotations.directory={folder / 'annotated'}"]
    done = subprocess.run(command, env=environment(cache, folder / "state"), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "acting" / "policy"
