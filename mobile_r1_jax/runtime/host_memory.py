"""Host memory that was freed, kept for the next array."""

import ctypes

SETTINGS = {-8: 1, -4: 0, -1: 2**31 - 1}  # malloc.h: M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD


def keep_freed_memory() -> bool:
    """Lets glibc keep what is freed, in one heap for all threads; before JAX starts its own.

    On a CPU every step's arrays are allocated anew. Else each comes from the kernel page by page and goes back to it,
    which took a sixth of the time of the demo's finetuning.

    Returns:
      whether the C library did it: others than glibc have no such settings.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all([mallopt(setting, value) == 1 for setting, value in SETTINGS.items()])
