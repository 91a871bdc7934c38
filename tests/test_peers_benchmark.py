"""The benchmark against peers runs with the installed peers and compares equal work."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.peers import compare, ours
from benchmarks.peers.__main__ import main
from benchmarks.peers.limits import count_cost
from benchmarks.peers.timing import Times, time_in_turns
from benchmarks.peers.work import MODELS, Encoding, Sampling, Update
from mobile_r1_jax.model.sharding import make_mesh
from mobile_r1_jax.planning.flops import Loops, count_flops
from mobile_r1_jax.training.step import completion_logps

SCREEN = Encoding(1, 112, 112)
TINY, MESH = MODELS["tiny"], make_mesh("1x1", jax.devices()[:1])


@pytest.mark.slow
def test_quick_run_prints_a_line_for_every_peer_or_reports_it_as_missing(capsys) -> None:
    main(["--quick", "--repetitions", "1"])
    lines = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| tiny")]
    cells = [[cell.strip() for cell in line] for line in lines]
    assert [(line[1].split(",")[0], line[3]) for line in cells] == [
        ("sampling", "tunix"),
        ("sampling", "transformers"),
        ("GRPO step", "tunix"),
        ("GRPO step", "TRL"),
        ("SFT step", "torch"),
        ("screen encoding", "transformers"),
    ]
    for line in cells:
        assert float(line[4].replace(",", "")) > 0
        assert line[5:7] == ["not installed", "–"] or " to " in line[6]


def test_peer_that_does_different_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "start", lambda *_: lambda: np.zeros((1, 16, TINY.text.width)))
    plan = compare.Plan("tiny", (SCREEN,))
    policy = ours.make_policy(TINY, MESH, jnp.float32)
    with pytest.raises(AssertionError, match="screen encoding, 1 of 112x112: transformers"):
        compare.rows_of(plan, policy, SCREEN, None, MESH, 1)


@pytest.mark.slow
def test_benchmark_runs_without_peers_in_bfloat16() -> None:
    work = Sampling(prompts=1, group=2, prompt=16, tokens=8), Update("GRPO", 1, 2, 16, 8), SCREEN
    plan = compare.Plan("tiny", work, jnp.bfloat16, against_peers=False)
    rows = [row for rows in compare.measure(plan, MESH, 1) for row in rows]
    assert [(row.work, row.peer, row.theirs) for row in rows] == [(one, None, None) for one in work]


def test_ratios_use_medians_and_their_spread_uses_repetitions() -> None:
    assert Times((1.0, 2.0, 4.0)).times_faster(Times((3.0, 5.0, 8.0))) == (2.5, 2.0, 3.0)


def test_every_peer_runs_in_every_repetition() -> None:
    turns: list[str] = []
    runs = {name: lambda name=name: turns.append(name) for name in ("ours", "theirs")}
    time_in_turns(runs, 2)
    assert turns == ["ours", "theirs", "ours", "theirs"]


def test_needed_operations_are_three_forward_passes_without_masked_ones() -> None:
    work = Update("GRPO", prompts=2, group=4, prompt=32, tokens=16)
    policy = ours.make_policy(TINY, MESH, jnp.float32)
    policy.text.loop = "scan"  # the scan computes every token in the last layer too
    program = completion_logps.trace(policy, ours.make_batch(policy, work))
    masked = 4 * TINY.text.layers * TINY.text.width * (2 * 32**2 + 2 * 4 * 16**2) / 2
    assert count_cost(work, TINY, 4).flops / 3 == pytest.approx(count_flops(program.jaxpr.jaxpr, Loops()) - masked)
