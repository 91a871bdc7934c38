"""The file that holds a directory's trajectories: data.jsonl, or data.jsonl.gz, one JSON object a line in UTF-8."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from mobile_r1_jax.agent.actions import Malformed

DATA, IMAGES = "data.jsonl", "images"
_GZIP = b"\x1f\x8b"


def has_data(directory: Path | str) -> bool:
    """Return whether the directory has a data file."""
    return any(path.is_file() for path in _candidates(directory))


def data_file(directory: Path | str) -> Path:
    """Return the directory's data.jsonl, else its data.jsonl.gz. Raise FileNotFoundError when it has neither."""
    for path in _candidates(directory):
        if path.is_file():
            return path
    raise FileNotFoundError(f"no {DATA} in {directory}; name one that holds {DATA} (or {DATA}.gz) and {IMAGES}/")


def read_lines(directory: Path | str) -> Iterator[tuple[int, str | Malformed]]:
    """Stream the lines of the directory's data file with their numbers, from 1. Skip blank lines.

    A line that is not UTF-8 is Malformed. Line 1 of a UTF-16 file and the line where a gzip file is damaged are
    Malformed too, and reading stops there. Byte order marks are dropped. Raise FileNotFoundError as `data_file`.
    """
    with data_file(directory).open("rb") as stored:
        compressed = stored.read(len(_GZIP)) == _GZIP
        stored.seek(0)
        file = gzip.GzipFile(fileobj=stored) if compressed else stored
        number = 0
        try:
            for number, raw in enumerate(file, 1):
                if number == 1 and (raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in raw[:4]):
                    yield number, Malformed("not UTF-8: the file is in UTF-16 or UTF-32; save it as UTF-8")
                    return
                raw = raw.removeprefix(codecs.BOM_UTF8)
                if raw.strip():
                    yield number, _decoded(raw)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            yield number + 1, Malformed(f"the gzip file is damaged from here on: {error}")


def _candidates(directory: Path | str) -> tuple[Path, ...]:
    return Path(directory) / DATA, Path(directory) / f"{DATA}.gz"


def _decoded(raw: bytes) -> str | Malformed:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        return Malformed(f"not UTF-8: {error}")
