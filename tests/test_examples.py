"""The examples run and do what their texts state."""

import runpy
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def test_toy_model_learns_from_rewards_with_our_rl_functions() -> None:
    rewards = runpy.run_path(str(EXAMPLES / "rl_on_a_toy.py"))["train"](updates=40)
    chance = 0.1  # chance: one digit of ten
    assert abs(rewards[0] - chance) < 0.05 and rewards[-1] > 0.6
