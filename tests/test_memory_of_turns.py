"""A run that plays for long takes no more memory than one that plays briefly."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

import host_runs
import pytest
from test_memory import resident

from mobile_r1_jax.launch import main
from mobile_r1_jax.stages import scoring

TURNS, WARM_UP, BOUND = 5000, 1000, 32 * 2**20


@pytest.mark.slow
def test_host_memory_is_flat_over_five_thousand_turns_of_task_level_updates(tmp_path: Path, monkeypatch) -> None:
    rng, turns, held = Random(0), 0, []

    def reward(_: object, answers: Sequence[object]) -> float:
        """Reward at random, so that every group of every update is trained on; note the memory every 500 turns."""
        nonlocal turns
        if (turns + len(answers)) // 500 > turns // 500:
            held.append((turns, resident()))
        turns += len(answers)
        return rng.random()

    monkeypatch.setattr(scoring, "task_reward", reward)
    (tmp_path / "config.yaml").write_text(host_runs.CONFIG)
    flags = [f"--config={tmp_path / 'config.yaml'}", f"--folder={tmp_path}", f"--policy={host_runs.TINY_BASE}"]
    flags += ["--stages=[format_finetuning,task_level]", "--phones.count=8", "--save_every=5"]
    flags += ["--format_finetuning.updates=55", "--format_finetuning.optimizer.learning_rate=3e-3"]
    flags += ["--phones.most_turns=3", "--shapes.prompt_tokens=[384]", "--shapes.response_tokens=28"]
    flags += ["--task_level.tasks=16", "--task_level.micro_batch=16", "--task_level.updates=30"]
    assert main(flags) == 0
    assert turns >= TURNS
    after = [size for played, size in held if played >= WARM_UP]
    print([(played, round(size / 2**20, 1)) for played, size in held])
    assert max(after) - after[0] < BOUND, [(played, round(size / 2**20, 1)) for played, size in held]
