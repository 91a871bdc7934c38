"""Freed memory is kept: filling an array again and again takes no more pages from the kernel."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, threading
import numpy as np
from mobile_r1_jax.runtime.host_memory import keep_freed_memory
{prepare}
def fill(times):
    for _ in range(times):
        np.empty(64 * 2**20, np.uint8).fill(1)
def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=fill, args=(times,))
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(1)
print(faults(20))
"""


def faults_after_the_first(prepare: str) -> int:
    """Page faults of twenty arrays of 64 MiB, one after the other, when there was one before them."""
    command = [sys.executable, "-c", SCRIPT.format(prepare=prepare)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone has these settings")
def test_later_arrays_need_no_new_pages() -> None:
    assert 10 * faults_after_the_first("assert keep_freed_memory()") < faults_after_the_first("")
