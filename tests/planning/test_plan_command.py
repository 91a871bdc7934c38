"""The command prints tables and a verdict for a run, or a one-line error if it cannot be planned."""

import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from mobile_r1_jax import plan
from mobile_r1_jax.config import TINY, parse_run
from mobile_r1_jax.planning import chips, command
from mobile_r1_jax.planning.measure import Measure
from mobile_r1_jax.planning.programs import Workload

TINY_BASE = TINY.parent.parent / "assets" / "tiny-base"
ONE = ("--topology=h200:1", f"--policy={TINY_BASE}", "--largest", "--stages=[action_level]")


def test_plan_of_a_run_that_fits_lists_the_memory_of_every_program(capsys) -> None:
    assert plan.main(ONE) == 0
    said = capsys.readouterr().out
    for word in (
        "ESTIMATED",
        "encode screens",
        "prefill",
        "decode 32 tokens",
        "gradients 8 x 8, P 416",
        "an update",
        "It fits",
    ):
        assert word in said
    assert max(map(len, said.splitlines())) <= plan.WIDTH


@pytest.mark.slow
def test_plan_of_a_run_that_does_not_fit_gives_the_excess_and_settings_that_help(capsys, monkeypatch) -> None:
    monkeypatch.setitem(chips.CHIPS, "h200", replace(chips.CHIPS["h200"], memory=2**27))
    assert plan.main(ONE) == 1
    said = capsys.readouterr().out
    assert "It does not fit" in said and "GiB of a chip over" in said
    freed = {flag: float(bytes_) for flag, bytes_ in re.findall(r"(--\S+) +(-?\d+\.\d\d) +no", said)}
    for flag in ("--action_level.micro_batch=4", "--action_level.group=4", "--precision.compute=bfloat16"):
        assert freed[flag] > 0.1
    assert freed["--precision.remat=full"] > 0.1 and "--lora.rank=16" in freed  # the program must differ
    plan.main([*ONE, "--stages=[format_finetuning]", "--format_finetuning.frozen=[]"])
    assert "--format_finetuning.frozen=[vision]" in capsys.readouterr().out


def test_rematerialisation_reduces_the_estimated_memory() -> None:
    def peak(*flags: str) -> float:
        stages = "--stages=[format_finetuning]"
        run = parse_run("plan", [f"--policy={TINY_BASE}", "--shapes.prompt_tokens=[448]", stages, *flags])
        topology = chips.parse_topology("h200:1")
        quiet = Console(quiet=True)
        programs = command.plan_programs(run, command.read_config(run), topology, Workload(4, 32))
        rows = command.measure_programs(programs, Measure(topology), quiet)
        return max(row.footprint.temporaries for row in rows)

    assert peak("--precision.remat=full") < 0.7 * peak("--precision.remat=none")


def test_every_chip_reads_at_least_half_of_the_weights_for_decoding_on_eight_chips() -> None:
    def read(topology: str, mesh: str) -> float:
        flags = [f"--policy={TINY_BASE}", "--shapes.prompt_tokens=[448]", f"--mesh={mesh}", "--action_level.prompts=8"]
        flags += ["--stages=[action_level]"]
        run = parse_run("plan", flags)
        found = chips.parse_topology(topology)
        programs = command.plan_programs(run, command.read_config(run), found, Workload(4, 32))
        rows = command.measure_programs(programs, Measure(found), Console(quiet=True))
        sampling = next(row.footprint for row in rows if row.program.name.startswith("sample"))
        return sampling.parts["decode 32 tokens"].memory

    weights = 4 * 32 * 2_000_000  # two million numbers, read 32 times
    assert read("h200:1", "1x1") > read("h200:8", "8x1") > 0.5 * weights


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--topology=v7x:2x4"], "choose from v5e"),
        (
            ["--topology=h200:8", "--mesh=4x1"],
            "mesh 4x1: 4 \\* 1 devices needed, 8 are there; nearest: 8x1, 4x2, 2x4 \\(h200:8\\)",
        ),
        (["--topology=h200:8", "--mesh=1x8"], "does not divide by tensor = 8"),
        (["--topology=h200:1", "--policy=nowhere"], "nowhere: no config.json"),
        (["--topology=h200:1", "--stages=[third]"], "stages.*third"),
        (["--topology=h200:1", "--precision.compute=float8"], "precision"),
    ],
)
def test_run_that_cannot_be_planned_is_a_one_line_error(arguments, says, capsys, tmp_path) -> None:
    assert plan.main([f"--policy={TINY_BASE}", *arguments]) == 2
    said = capsys.readouterr().out.strip()
    assert "\n" not in said and re.search(says, said), said


def test_config_json_alone_is_enough_for_a_plan(tmp_path, capsys) -> None:
    (tmp_path / "config.json").write_text((TINY_BASE / "config.json").read_text())
    assert plan.main([*ONE, f"--policy={tmp_path}"]) == 0
    file = tmp_path / "other.json"
    file.write_text(json.dumps({"model_type": "gpt2"}))
    assert plan.main([*ONE, f"--policy={file}"]) == 2
    assert "model_type is 'gpt2'" in capsys.readouterr().out
