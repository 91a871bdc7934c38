"""Where compiled programs are kept, and that a second process takes them from there."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from mobile_r1_jax.runtime.compilation_cache import enable_compilation_cache

PROGRAM = """
import sys
from pathlib import Path
import jax
from mobile_r1_jax.runtime.compilation_cache import enable_compilation_cache

hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None)
enable_compilation_cache(Path(sys.argv[1]))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(float(jax.jit(lambda x: x.sum() * 3)(jax.numpy.ones(4))), len(hits) > 0)
"""


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    before = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize(
    ("folder", "told", "backend", "kept"),
    [
        (None, None, "cpu", None),
        (None, None, "tpu", "home/mobile-r1-jax"),
        (None, "told", "tpu", "told"),
        (None, "told", "cpu", "told"),
        ("named", "told", "cpu", "named"),
    ],
)
def test_folder_of_programs_comes_from_run_or_environment_and_by_default_only_on_accelerators(
    folder, told, backend, kept, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "home")
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    jax.config.update("jax_compilation_cache_dir", told)
    assert enable_compilation_cache(folder and Path(folder)) == (kept and Path(kept))
    assert jax.config.jax_compilation_cache_dir == kept


def test_second_process_reads_the_compiled_programs_from_disk(tmp_path: Path) -> None:
    def start() -> str:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "kept")]
        return subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=True).stdout.strip()

    assert [start(), start()] == ["12.0 False", "12.0 True"]
    assert any((tmp_path / "kept").iterdir())
