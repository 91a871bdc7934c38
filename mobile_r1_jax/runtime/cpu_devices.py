"""Several CPU devices in one process, to show a mesh without the hardware: enough threads and time for all of them.

XLA runs all CPU devices of a process with one pool of threads: one per core, and at least one per device. A program
with a collective occupies a thread per device until all devices have arrived. When 32 programs are in flight, the start
of another one occupies a thread per device too, until an earlier program ends. If it takes a thread that the earlier
program needs, that program's devices wait for the one without a thread. So the pool needs more threads.

On a machine with much other work, a device can be late by half a minute. XLA stops the process after 40 seconds.
"""

import os
import re
from collections.abc import MutableMapping

THREADS_PER_DEVICE = 3  # one runs a program; one is for the main thread's next program, one for the sampling engine's
LIMIT = "--xla_cpu_collective_call_terminate_timeout_seconds"
LIMIT_SECONDS = 600  # XLA writes after 20 which device is late


def prepare_cpu_devices(environment: MutableMapping[str, str] = os.environ) -> None:
    """Give several CPU devices more threads (PJRT_NPROC) and more time (XLA_FLAGS); call before JAX reads these.

    A process with one CPU device keeps XLA's values. A value that the user set stays.
    """
    flags = environment.get("XLA_FLAGS", "")
    counts = re.findall(r"--xla_force_host_platform_device_count=(\d+)", flags)[-1:]
    counts += re.findall(r"^\d+$", environment.get("JAX_NUM_CPU_DEVICES", ""))
    devices = max(map(int, counts), default=1)
    if devices > 1:
        environment.setdefault("PJRT_NPROC", str(max(THREADS_PER_DEVICE * devices, os.cpu_count() or 1)))
        names_file = flags.strip() and not flags.lstrip().startswith("-")
        if LIMIT not in flags and not names_file:
            environment["XLA_FLAGS"] = f"{flags} {LIMIT}={LIMIT_SECONDS}".strip()
