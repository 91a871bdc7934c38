"""Reuse of freed host memory."""

import ctypes

SETTINGS = {-8: 1, -4: 0, -1: 2**31 - 1}  # malloc.h: M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory, in one heap for all threads. Call it before JAX starts its threads.

    On a CPU every step allocates its arrays again. By default each array comes from the kernel page by page and returns
    to it, which took a sixth of the time of the demo's finetuning.

    Returns:
      whether it succeeded; C libraries other than glibc have no such settings.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all([mallopt(setting, value) == 1 for setting, value in SETTINGS.items()])
