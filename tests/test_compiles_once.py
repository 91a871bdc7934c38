"""A run of all three stages compiles every program in a stage's first update, and never again."""

from collections import Counter
from pathlib import Path
from random import Random

import jax
import pytest
from test_launch import SMALL, TINY_BASE

from mobile_r1_jax.launch import main
from mobile_r1_jax.stages import action_level, scoring
from mobile_r1_jax.training.metrics import read_rows

UPDATES = {"format_finetuning": 4, "action_level": 3, "task_level": 3}
MOST = {  # programs whose shapes depend on the timing of requests and screens, and their largest number
    "jit(fill)": 2,  # completions of a prompt, one or eight
    "jit(encode)": 3,  # rows of screens at once: one, a quarter, all
    "jit(batch_gradients)": 2,  # completions of a prompt in the task-level stage, one or a group
}


@pytest.mark.slow
def test_only_new_shapes_are_compiled_after_the_first_update_of_a_stage(tmp_path: Path, monkeypatch, caplog) -> None:
    # Random rewards: a policy with so little training would earn nothing and so never be updated.
    rng = Random(0)
    monkeypatch.setattr(action_level, "step_reward", lambda *_: rng.choice((0, 1, 2)))
    monkeypatch.setattr(scoring, "task_reward", lambda *_: rng.random())
    (tmp_path / "small.yaml").write_text(SMALL.replace("UPDATES", str(UPDATES["format_finetuning"])))
    rows = tmp_path / "small" / "metrics.jsonl"
    compiled: list[tuple[int, str]] = []  # (number of updates before, program)

    def listen(event: str, seconds: float, **about: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append((len(read_rows(rows)), str(about["fun_name"])))

    jax.clear_caches()  # forget the programs of other tests
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        arguments = [f"--config={tmp_path / 'small.yaml'}", f"--folder={tmp_path}", f"--policy={TINY_BASE}"]
        assert main([*arguments, "--task_level.loss.beta=0.04"]) == 0  # as in the action-level stage
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert Counter(row["stage"] for row in read_rows(rows) if "grad_norm" in row) == UPDATES
    ends = (0, 4, 7, 10)  # programs compiled here belong to an evaluation or to a stage's first update
    late = Counter(program for made, program in compiled if made not in ends)
    assert late.keys() <= {*MOST, "jit(is_finite)"}, late  # the last one belongs to the first checkpoint
    times = Counter(program for _, program in compiled)
    assert times["jit(decode)"] == times["jit(sample)"] == 1 and times["jit(_apply_update)"] == 2
    assert times["jit(fill)"] <= MOST["jit(fill)"] and times["jit(encode)"] <= MOST["jit(encode)"]
    assert times["jit(batch_gradients)"] <= 1 + MOST["jit(batch_gradients)"]  # finetuning has a separate program
    warned = [record.getMessage() for record in caplog.records if record.name == "mobile_r1_jax.stages.trainer"]
    assert not warned
