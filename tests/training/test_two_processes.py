"""Two processes of four devices each make the update that one process of eight makes, by the loss of every stage."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent


def run(processes: int, save_to: Path) -> dict[str, np.ndarray]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    flags = f"--xla_force_host_platform_device_count={8 // processes} --xla_backend_optimization_level=0"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    script = [sys.executable, str(HERE / "one_step.py"), address, str(processes)]
    runs = [
        subprocess.Popen([*script, str(process), str(save_to)], env=environment, stderr=subprocess.PIPE, text=True)
        for process in range(processes)
    ]
    errors = [one.communicate(timeout=900)[1] for one in runs]
    assert [one.returncode for one in runs] == [0] * processes, "\n".join(errors)[-3000:]
    return dict(np.load(save_to))


@pytest.mark.slow
def test_update_by_the_loss_of_every_stage_equals_that_of_one_process(tmp_path) -> None:
    one, two = run(1, tmp_path / "one.npz"), run(2, tmp_path / "two.npz")
    assert one.keys() == two.keys() and {name.split()[0] for name in one} == {
        "format_finetuning",
        "action_level",
        "task_level",
    }
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    # The losses differ, so their gradients differ too.
    assert len({float(value) for name, value in one.items() if name.endswith("loss")}) == 3
