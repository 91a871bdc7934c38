"""The TPU's compiler, without a TPU: a small policy's train step and sampler for eight chips."""

import importlib.util
import re
from pathlib import Path

import pytest

from mobile_r1_jax import plan
from mobile_r1_jax.config import TINY
from mobile_r1_jax.planning.chips import parse_topology, tpu_devices

TINY_BASE = TINY.parent.parent / "assets" / "tiny-base"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="libtpu, the TPU's compiler, is not installed"),
]


@pytest.mark.parametrize(
    ("name", "hosts"),
    [("tpu7x:1x1x1", 1), ("tpu7x:2x2x1", 1), ("tpu7x:2x2x4", 4), ("v5e:1x1", 1), ("v6e:4x4", 4), ("v5p:2x2x2", 2)],
)
def test_the_compiler_counts_devices_and_hosts_as_the_topology_does(name: str, hosts: int) -> None:
    topology = parse_topology(name)
    devices = tpu_devices(topology)
    assert len(devices) == topology.count == hosts * topology.per_host
    assert len({device.process_index for device in devices}) == hosts


def test_run_is_compiled_once_for_eight_tpu_chips_and_fits(capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arguments = ["--topology=v5e:2x4", "--mesh=4x2", f"--policy={TINY_BASE}", "--largest", "--stages=[action_level]"]
    assert plan.main([*arguments, "--precision.compute=bfloat16", "--precision.remat=full"]) == 0
    said = capsys.readouterr().out
    assert "as the compiler says" in said and "It fits:" in said and "links" in said
    assert re.search(r"Compiled with jax \d[\d.]+, libtpu \d[\d.]+\n", said)
    assert plan.main([*arguments, "--precision.compute=bfloat16", "--precision.remat=full"]) == 0
    again = capsys.readouterr()
    assert again.out == said
    seconds = [int(found) for found in re.findall(r"\((\d+) s\)", again.err)]
    assert len(seconds) == 5 and sum(seconds) < 10


def test_slice_unknown_to_the_compiler_is_a_one_line_error(capsys) -> None:
    assert plan.main(["--topology=v5e:2x5", "--mesh=10x1", f"--policy={TINY_BASE}"]) == 2
    assert "has no such slice" in capsys.readouterr().out
