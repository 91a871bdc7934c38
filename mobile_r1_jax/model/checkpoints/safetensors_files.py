"""Tensors in one or several safetensors files. They are opened without reading, and written a block at a time.

A file has the length of its header (8 bytes, little endian), a JSON header with dtype, shape and offsets of every
tensor, and the bytes of all tensors. [https://github.com/huggingface/safetensors, "Format"]
"""

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from mobile_r1_jax.model.checkpoints.json_section import Section, read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FILE_BYTES = 5 * 10**9  # the published checkpoints' files stay under this

DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


def open_tensors(directory: Path, stack: ExitStack, *, named: str | None = None) -> dict[str, Any]:
    """Return name -> tensor. A tensor is read when it is sliced; `stack` closes the files.

    As in transformers, the files are model.safetensors, or else those of the index. Other safetensors files are
    ignored.

    Args:
      named: the file or index to open instead, if config.json names one (transformers_weights).

    Raises:
      FileNotFoundError: there is neither, or the index names missing files.
      ValueError: a file is truncated or broken; one line with its name.
    """
    first = next((name for name in ([named] if named else [SINGLE, INDEX]) if (directory / name).is_file()), None)
    if first is None:
        weights = (file.name for file in directory.glob("*") if file.suffix in (".safetensors", ".bin", ".pt", ".gguf"))
        found = join_names(sorted(weights)) or "no weights"
        raise FileNotFoundError(
            f"{directory}: no {named or f'{SINGLE} and no {INDEX}'}, but {found}; "
            "download the whole model, or save it by transformers' save_pretrained"
        )
    files = [first]
    if first.endswith(".json"):
        places = Section(read_json(directory / first), f"{directory / first}: ").section("weight_map").values.values()
        files = sorted(set(map(str, places)))
        if absent := [name for name in files if not (directory / name).is_file()]:
            raise FileNotFoundError(f"{directory}: no {join_names(absent)}, named by {first}; download the whole model")
    return {name: tensor for file in files for name, tensor in open_file(directory / file, stack).items()}


def open_file(file: Path, stack: ExitStack) -> dict[str, Any]:
    """Return name -> tensor of one file, as `open_tensors`. Raises ValueError in one line if the file is broken."""
    try:
        handle = stack.enter_context(safe_open(file, framework="numpy"))
        return {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118 (a handle is not a dict)
    except (SafetensorError, OSError) as error:
        size = f"{file.stat().st_size} bytes" if file.is_file() else "not there"
        raise ValueError(
            f"{file} ({size}) is not a complete safetensors file ({error}); copy or download it again"
        ) from error


def join_names(names: Sequence[str], most: int = 5) -> str:
    """Join names by commas; after `most` names, give the count of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def write_tensors(
    directory: Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: np.dtype,
    blocks: Callable[[str], Iterable[np.ndarray]],
    *,
    max_file_bytes: int = FILE_BYTES,
    keep: bool = True,
) -> None:
    """Write tensors of one dtype to one file, or to several files of at most `max_file_bytes` and their index.

    A larger tensor has its own file. Files of an earlier model in the directory are removed.

    Args:
      blocks: name -> consecutive parts of the tensor in C order; each is written before the next one is computed.
      keep: False in all processes but one. They compute the blocks, which may need all processes, and write nothing.
    """
    files = _split(shapes, np.dtype(dtype).itemsize, max_file_bytes)
    for file, names in files.items():
        with open(directory / file if keep else os.devnull, "wb") as out:
            out.write(_header({name: shapes[name] for name in names}, np.dtype(dtype)))
            for name in names:
                for block in blocks(name):
                    out.write(np.ascontiguousarray(block, dtype).reshape(-1).view(np.uint8).data)
    if not keep:
        return
    for old in directory.glob("model*.safetensors*"):
        if old.name not in files:
            old.unlink()
    if len(files) > 1:
        total = sum(math.prod(shape) for shape in shapes.values()) * np.dtype(dtype).itemsize
        place = {name: file for file, names in files.items() for name in names}
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(place.items()))}
        (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _split(shapes: Mapping[str, tuple[int, ...]], itemsize: int, limit: int) -> dict[str, list[str]]:
    """Return file name -> names of its tensors, layer after layer."""
    files: list[list[str]] = [[]]
    size = 0
    for name in sorted(shapes, key=lambda name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)]):
        tensor = math.prod(shapes[name]) * itemsize
        if files[-1] and size + tensor > limit:
            files.append([])
            size = 0
        files[-1].append(name)
        size += tensor
    if len(files) == 1:
        return {SINGLE: files[0]}
    return {f"model-{n:05d}-of-{len(files):05d}.safetensors": names for n, names in enumerate(files, 1)}


def _header(shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, shape in shapes.items():
        end = place + math.prod(shape) * dtype.itemsize
        entries[name] = {"dtype": DTYPES[dtype.name], "shape": list(shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text
