"""Plan results on disk: a second plan compiles only the programs that changed."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jax
import jaxlib

from mobile_r1_jax.agent.whole_files import write_whole
from mobile_r1_jax.planning.footprint import Footprint, Work
from mobile_r1_jax.planning.programs import Program

# Modules of this package whose numbers are stored. The others choose programs, which the key names by their own text.
COUNTING = ("abstract.py", "flops.py", "footprint.py", "hlo.py", "measure.py")
FLAGS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")  # environment variables that change what the compiler does
OPTIONS = (
    "jax_exec_time_optimization_effort",
    "jax_memory_fitting_effort",
    "jax_optimization_level",
    "jax_memory_fitting_level",
)


def program_key(lowered: str, program: Program, topology: str) -> str:
    """Return a hash of everything that a result depends on: program, hardware, compiler and our counting code.

    Args:
      lowered: the program's StableHLO text.
      topology: the name of the topology, such as "v5e:2x4".
    """
    compiler = program.mesh.devices.flat[0].client.platform_version  # names libtpu's build
    flags = [os.environ.get(name) for name in FLAGS] + [getattr(jax.config, name) for name in OPTIONS]
    parts = (lowered, repr(program.loops), topology, compiler, jax.__version__, jaxlib.__version__, flags, _our_code())
    return _digest(parts)


@dataclass(frozen=True)
class ResultCache:
    """A folder of footprints: one JSON file per program, with a checksum."""

    folder: Path

    def read(self, key: str) -> Footprint | None:
        """Return the result for `key`, or None if its file is missing or damaged."""
        try:
            record = json.loads(self._path(key).read_bytes())
            footprint = record["taken"]
            if record["sha256"] != _digest(footprint):
                return None
            return Footprint(
                **{**footprint, "parts": {name: Work(**work) for name, work in footprint["parts"].items()}}
            )
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self, key: str, footprint: Footprint) -> None:
        """Write a result atomically. Raise OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"sha256": _digest(asdict(footprint)), "taken": asdict(footprint)}
        write_whole(self._path(key), json.dumps(content))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


@cache
def _our_code() -> str:
    """Return a hash of the modules that count, because other counting code gives other results."""
    return _digest([files(__package__).joinpath(name).read_text(encoding="utf-8") for name in COUNTING])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
