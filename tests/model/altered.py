"""Copies of a model directory with something changed: tensors, config.json, or files."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

Tensors = dict[str, np.ndarray]


def copy_of(
    directory: Path,
    target: Path,
    *,
    tensors: Callable[[Tensors], Mapping[str, np.ndarray]] | None = None,
    config: Callable[[dict[str, Any]], Any] | None = None,
    files: Mapping[str, Any] | None = None,
) -> Path:
    """Copy a model directory.

    Args:
      tensors: returns the tensors to store; config: changes the parsed config.json in place.
      files: name -> text, bytes, an object to write as JSON, or None to remove the file.
    """
    shutil.copytree(directory, target)
    if tensors is not None:
        stored = {name: np.ascontiguousarray(value) for name, value in tensors(load_weights(target)).items()}
        save_file(stored, target / "model.safetensors", metadata={"format": "pt"})
    if config is not None:
        values = json.loads((target / "config.json").read_text())
        config(values)
        (target / "config.json").write_text(json.dumps(values))
    for name, content in (files or {}).items():
        (target / name).unlink(missing_ok=True)
        if isinstance(content, bytes):
            (target / name).write_bytes(content)
        elif content is not None:
            (target / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return target


def load_weights(directory: Path) -> Tensors:
    return load_file(directory / "model.safetensors")
