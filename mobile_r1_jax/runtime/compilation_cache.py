"""Compiled programs kept on disk, so that the second start of a run does not compile what the first one did."""

import os
from pathlib import Path

import jax


def enable_compilation_cache(folder: Path | None) -> Path | None:
    """Lets JAX keep what it compiles in `folder`, and take it from there; before the first compilation of the process.

    None: where JAX was told to already (JAX_COMPILATION_CACHE_DIR); else on an accelerator the user's cache directory,
    for all runs together, as programs are kept under what they are made of. On a CPU nowhere: what is kept is machine
    code, which JAX runs on whatever CPU reads it (a home directory that several machines share is enough for a crash),
    and each program that is read logs a line about it. Whoever names a folder has it there too.

    Returns:
      where they are kept, if anywhere.
    """
    told = jax.config.jax_compilation_cache_dir
    if folder is None and (told or jax.default_backend() == "cpu"):
        return Path(told) if told else None
    if folder is None:
        folder = user_cache()
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder


def user_cache() -> Path:
    """Return this project's folder in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mobile-r1-jax"
