"""Two processes with a shared policy load it together and save it once."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import ml_dtypes  # noqa: F401 (safetensors finds bfloat16 by it)
import numpy as np
from safetensors.numpy import load_file

TINY_BASE = Path(__file__).resolve().parents[2] / "assets" / "tiny-base"


def test_two_processes_load_and_save_a_policy_bit_by_bit(tmp_path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    script = str(Path(__file__).with_name("in_two_processes.py"))
    commands = [[sys.executable, script, address, str(n), str(TINY_BASE), str(tmp_path)] for n in range(2)]
    runs = [subprocess.Popen(c, env=environment, stderr=subprocess.PIPE, text=True) for c in commands]
    errors = [run.communicate(timeout=240)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(errors)[-3000:]
    theirs, ours = load_file(TINY_BASE / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert theirs.keys() == ours.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
