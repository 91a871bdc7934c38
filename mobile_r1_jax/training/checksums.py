"""Checksums of a folder's files, stored in the folder. They detect files that were truncated, lost or changed."""

import json
import os
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from etils import epath

from mobile_r1_jax.agent.errors import name_file
from mobile_r1_jax.training.checkpoint_storage import as_folder, files_in, in_bucket

CHECKSUMS = "checksums.json"  # relative path -> {"bytes": size, "crc32": 8 hex digits}
BLOCK = 4 * 2**20  # bytes read at once


def write_checksums(folder: os.PathLike[str], *, leave_out: frozenset[str] = frozenset()) -> None:
    """Write the checksums of all files in `folder`, except for the files at its top level named in `leave_out`."""
    folder = as_folder(folder)
    names = [name for name in files_in(folder) if name not in leave_out]
    with ThreadPoolExecutor() as threads:
        found = dict(zip(names, threads.map(lambda name: _checksum(folder / name), names), strict=True))
    with name_file(folder / CHECKSUMS):
        (folder / CHECKSUMS).write_text(json.dumps(found, indent=0, sort_keys=True))


def find_damage(folder: os.PathLike[str]) -> str | None:
    """Return the first damaged file and its problem, in words; None if every file is intact.

    Raises FileNotFoundError if the folder has no checksums, and what a bucket raises that does not answer.
    """
    folder = as_folder(folder)
    text = (folder / CHECKSUMS).read_bytes()
    try:
        expected = json.loads(text)
        with ThreadPoolExecutor() as threads:
            problems = threads.map(lambda name: _difference(folder, name, expected[name]), sorted(expected))
            return next(filter(None, problems), None)
    except (ValueError, TypeError, KeyError) as error:
        return f"{CHECKSUMS} cannot be read ({' '.join(str(error).split())})"


def _difference(folder: epath.Path, name: str, expected: Mapping[str, Any]) -> str | None:
    path = folder / name
    try:
        size = path.stat().length
        if size != expected["bytes"]:
            return f"{name} has {size:,} of its {expected['bytes']:,} bytes"
        return None if _checksum(path) == expected else f"{name} is not as it was written: its checksum is another"
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        if in_bucket(folder):  # it does not answer, which is no damage
            raise
        return f"{name} cannot be read: {error.strerror}"


def _checksum(path: epath.Path) -> dict[str, Any]:
    size = checksum = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    return {"bytes": size, "crc32": f"{checksum:08x}"}
