"""A cache of compiled programs on disk, so that a restarted run does not compile them again."""

import os
from pathlib import Path

import jax


def enable_compilation_cache(folder: Path | None) -> Path | None:
    """Enable JAX's compilation cache. Call it before the first compilation of the process.

    On a CPU there is no cache by default. The cache holds machine code, and JAX runs it on any CPU that reads it: a
    home directory shared by different machines can cause a crash. JAX also logs a line per program that it reads.

    Args:
      folder: the folder of the cache, on any platform. None: the folder of JAX_COMPILATION_CACHE_DIR, if it is set;
        else on an accelerator the user's cache directory, shared by all runs.

    Returns:
      the folder of the cache; None for no cache.
    """
    configured = jax.config.jax_compilation_cache_dir
    if folder is None and (configured or jax.default_backend() == "cpu"):
        return Path(configured) if configured else None
    if folder is None:
        folder = user_cache()
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder


def user_cache() -> Path:
    """Return this project's folder in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mobile-r1-jax"
