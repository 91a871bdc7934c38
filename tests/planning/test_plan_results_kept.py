"""Results on disk: what a second plan reuses, what it computes again, and what an interrupted plan stores."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mobile_r1_jax import plan
from mobile_r1_jax.config import TINY
from mobile_r1_jax.model.sharding import make_mesh
from mobile_r1_jax.planning import command
from mobile_r1_jax.planning.chips import parse_topology
from mobile_r1_jax.planning.flops import Loops
from mobile_r1_jax.planning.measure import Measure
from mobile_r1_jax.planning.programs import Program
from mobile_r1_jax.planning.result_cache import ResultCache

TINY_BASE = TINY.parent.parent / "assets" / "tiny-base"
TOPOLOGY = parse_topology("v5e:1x1")
ARGUMENTS = ["--topology=v5e:1x1", f"--policy={TINY_BASE}", "--shapes.prompt_tokens=[416,448]"]
ARGUMENTS += ["--stages=[format_finetuning]", "--format_finetuning.micro_batch=1"]
# The command with the CPU's compiler instead of the TPU's.
COMMAND = """
import sys, jax
from mobile_r1_jax import plan
from mobile_r1_jax.planning import command
command.tpu_devices, plan.compiler_versions = lambda topology: jax.devices()[:1], lambda: ""
sys.exit(plan.main(sys.argv[1:]))
"""


def program(size: int = 8, loops: Loops = Loops()) -> Program:  # noqa: B008
    mesh = make_mesh("1x1", jax.devices()[:1])
    shape = jax.ShapeDtypeStruct((size, size), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec()))
    return Program("action_level", "product", None, mesh, jax.jit(jnp.dot), (shape, shape), loops=loops)


def mark(folder: Path) -> Path:
    """Give the one stored result a number that no compiler returns; return its file."""
    (file,) = folder.glob("*.json")
    cache = ResultCache(folder)
    cache.write(file.stem, replace(cache.read(file.stem), temporaries=12345.0))
    return file


def test_second_plan_reads_a_stored_result_without_compiling(tmp_path: Path) -> None:
    first = Measure(TOPOLOGY, ResultCache(tmp_path))(program())
    assert Measure(TOPOLOGY, ResultCache(tmp_path))(program()) == first and first.parts[""].flops == 2 * 8**3
    mark(tmp_path)
    assert Measure(TOPOLOGY, ResultCache(tmp_path))(program()).temporaries == 12345


def flip_digit(content: bytes) -> bytes:
    return content.replace(b"12345", b"12346")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-20],
        flip_digit,
        lambda content: b"[]",
        lambda content: b'{"taken": {}, "sha256": ""}',
        lambda content: b"\xff" + content,
        lambda content: content.replace(b'"peak"', b'"pack"'),
    ],
    ids=["empty", "cut", "a changed digit", "a list", "no result", "not UTF-8", "another field"],
)
def test_a_damaged_result_is_computed_again_and_replaced(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    right = Measure(TOPOLOGY, ResultCache(tmp_path))(program())
    file = mark(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    assert Measure(TOPOLOGY, ResultCache(tmp_path))(program()) == right
    assert ResultCache(tmp_path).read(file.stem) == right


@pytest.mark.parametrize("change", ["program", "loops", "topology", "XLA_FLAGS", "LIBTPU_INIT_ARGS", "option"])
def test_a_result_is_reused_only_for_the_same_program_hardware_compiler_and_flags(
    tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Measure(TOPOLOGY, ResultCache(tmp_path))(program())
    mark(tmp_path)
    topology, other, effort = TOPOLOGY, program(), jax.config.jax_memory_fitting_effort
    if change == "program":
        other = program(size=16)
    elif change == "loops":
        other = program(loops=Loops(trips=7))
    elif change == "topology":
        topology = parse_topology("v5p:1x1x1")
    elif change == "option":
        jax.config.update("jax_memory_fitting_effort", 0.5)
    else:
        monkeypatch.setenv(change, os.environ.get(change, "") + " --xla_dump_max_hlo_modules=7")
    taken = Measure(topology, ResultCache(tmp_path))(other)
    jax.config.update("jax_memory_fitting_effort", effort)
    assert taken.temporaries != 12345
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_unwritable_folder_gives_one_warning_and_the_plan_continues(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    measure = Measure(TOPOLOGY, ResultCache(tmp_path / "file" / "plans"))
    assert measure(program()).parts[""].flops == 2 * 8**3
    assert measure(program(size=16)).parts[""].flops == 2 * 16**3
    (said,) = caplog.messages
    assert "cannot be stored" in said and str(tmp_path / "file") in said


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COMMAND, *ARGUMENTS]
    environment = os.environ | {"XDG_CACHE_HOME": str(folder)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_rows_are_printed_at_once_largest_bucket_first_and_survive_ctrl_c(tmp_path: Path) -> None:
    first = start(tmp_path)
    row = next(line for line in first.stderr if line.startswith("1/"))
    assert "P 448" in row and "GiB, fits: yes" in row and row.endswith(" s)\n")
    first.send_signal(signal.SIGINT)  # while the next program is traced or compiled
    out, rest = first.communicate(timeout=60)
    assert (first.returncode, out) == (130, "") and rest.splitlines()[-1].startswith("interrupted;")
    assert "Traceback" not in rest
    stored = {file: file.stat().st_mtime_ns for file in (tmp_path / "mobile-r1-jax" / "plans").glob("*.json")}
    assert stored
    out, rest = (second := start(tmp_path)).communicate(timeout=300)
    assert second.returncode == 0
    rows = [line for line in rest.splitlines() if line[:1].isdigit()]
    buckets = [int(line.split("P ")[1].split(":")[0]) if "P " in line else 0 for line in rows]
    assert buckets == sorted(buckets, reverse=True) and set(buckets) == {448, 416, 0}
    assert out.index("P 416") < out.index("P 448")  # tables are in the order of an update
    assert {file: file.stat().st_mtime_ns for file in stored} == stored


def test_results_are_stored_in_the_folder_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "tpu_devices", lambda topology: jax.devices()[:1])
    monkeypatch.setattr(plan, "compiler_versions", lambda: "")
    arguments = [*ARGUMENTS, "--largest", f"--compiled={tmp_path}"]
    assert plan.main(arguments) == 0
    first = capsys.readouterr().out
    records = [json.loads(file.read_text()) for file in (tmp_path / "plans").glob("*.json")]
    assert len(records) == 4 and all(record["taken"]["compiled"] for record in records)
    assert plan.main(arguments) == 0 and capsys.readouterr().out == first
