"""A run that plays for long uses no more memory than one that plays briefly.

Memory in use is what the process has in RAM, without what its allocator has free: a run keeps freed memory
(runtime/host_memory.py). The free part depends on the order in which threads allocate: with it, the same runs grew by
13 to 40 MiB after turn 1,500.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import host_runs
import pytest

TURNS, WARM_UP, BOUND = 5000, 990, 16 * 2**20
# A separate process: pytest keeps all log records of a test, and other tests leave free memory.
SCRIPT = """
import ctypes, gc, json, sys
from random import Random
from test_memory import resident
from mobile_r1_jax.launch import main
from mobile_r1_jax.stages import scoring

class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Mallinfo2
rng, turns, held = Random(0), 0, []

def reward(_, answers):
    # At random, so that every group of every update is trained on.
    global turns
    if (turns + len(answers)) // 500 > turns // 500:
        gc.collect()
        held.append((turns, resident() - mallinfo2().fordblks))
    turns += len(answers)
    return rng.random()

scoring.task_reward = reward
assert main(sys.argv[1:]) == 0
print(json.dumps({"turns": turns, "held": held}))
"""


@pytest.mark.slow
def test_host_memory_is_flat_over_five_thousand_turns_of_task_level_updates(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(host_runs.CONFIG)
    flags = [f"--config={tmp_path / 'config.yaml'}", f"--folder={tmp_path}", f"--policy={host_runs.TINY_BASE}"]
    flags += ["--stages=[format_finetuning,task_level]", "--phones.count=8", "--save_every=5"]
    flags += ["--format_finetuning.updates=55", "--format_finetuning.optimizer.learning_rate=3e-3"]
    flags += ["--phones.most_turns=3", "--shapes.prompt_tokens=[384]", "--shapes.response_tokens=28"]
    flags += ["--task_level.tasks=16", "--task_level.micro_batch=16", "--task_level.updates=30"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    command = [sys.executable, "-c", SCRIPT, *flags]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured["turns"] >= TURNS
    after = [size for played, size in measured["held"] if played >= WARM_UP]
    assert max(after) - after[0] < BOUND, [(played, round(size / 2**20, 1)) for played, size in measured["held"]]
