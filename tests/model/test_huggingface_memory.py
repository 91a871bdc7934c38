"""A checkpoint of many layers and files is loaded and saved, and the host never holds all of it."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from mobile_r1_jax.model.checkpoints.huggingface import WHOLE, parameter_shapes, write_model
from mobile_r1_jax.model.config import PolicyConfig, TextConfig, VisionConfig

MEGABYTE = 2**20
CONFIG = PolicyConfig(
    text=TextConfig(8192, 512, 2048, layers=40, heads=8, kv_heads=4, mrope_section=(8, 12, 12), tied=False),
    vision=VisionConfig(width=64, feed_forward=128, layers=2, heads=4, out_width=512, full_attention=(1,)),
)
LARGEST = 8192 * 512 * 2  # bytes of the embedding in bfloat16


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """Return a directory with random bfloat16 weights of CONFIG in files of 50 MB, written tensor by tensor."""
    directory, rng = tmp_path_factory.mktemp("checkpoint"), np.random.default_rng(0)
    shapes = parameter_shapes(CONFIG)

    def read(path: str, layer: int | None) -> np.ndarray:
        shape = shapes[path] if layer is None else shapes[path][1:]
        return rng.integers(0x3F80, 0x4000, shape, np.uint16).view(ml_dtypes.bfloat16)

    write_model(directory, CONFIG, shapes, read, dtype=ml_dtypes.bfloat16, max_file_bytes=50 * 10**6)
    return directory


def anonymous_memory(process: int) -> int:
    """Return the bytes that the process has allocated, without pages of mapped files."""
    return int(re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())[1]) * 1024


def measure(*arguments: object) -> dict[str, int]:
    """Return the report of loading_memory.py and the largest growth of its memory as the system counts it."""
    flags = "--xla_force_host_platform_device_count=4"
    # malloc returns freed memory at once, so the growth equals the held memory.
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, str(Path(__file__).with_name("loading_memory.py")), *map(str, arguments)]
    with subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout.readline() == "ready\n"
        before, seen, done = anonymous_memory(run.pid), [0], threading.Event()

        def watch() -> None:
            while not done.is_set():
                seen.append(anonymous_memory(run.pid) - before)
                time.sleep(0.001)

        watcher = threading.Thread(target=watch)
        watcher.start()
        run.stdin.write("\n")
        run.stdin.flush()
        report = json.loads(run.stdout.readline())
        done.set()
        watcher.join()
        run.stdin.write("\n")
    return {**report, "growth": max(seen)}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("mesh", ["4x1", "2x2"])
def test_loading_needs_host_memory_for_the_largest_tensor_only(checkpoint, mesh) -> None:
    total = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
    assert len(list(checkpoint.glob("*.safetensors"))) >= 5 and total > 250 * MEGABYTE
    seen = measure(checkpoint, mesh)
    print(seen, total)
    assert seen["devices"] >= total - MEGABYTE
    room = LARGEST + 3 * WHOLE  # a small parameter is at most read, stacked and converted
    assert room < total / 4
    assert seen["python_peak"] < room
    # On a CPU the devices use host memory: memory over the size of the arrays is the cost of loading.
    assert seen["growth"] - seen["devices"] < room


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_saving_needs_host_memory_for_the_largest_tensor_only(checkpoint, tmp_path) -> None:
    seen = measure(checkpoint, "4x1", tmp_path)
    print(seen)
    room = 3 * LARGEST + 3 * WHOLE
    assert seen["python_peak"] < room and seen["growth"] < room
    total = sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    assert room < total / 3
