"""Files of JSON objects, one per line, that stay readable after a kill in the middle of a write.

A kill or a full disk can leave the last line incomplete. A part of a JSON object is never valid JSON, so parsing shows
whether a last line without a line break is complete or torn. Readers ignore a torn last line. The next append removes
it.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.errors import OneLineError, name_file

BLOCK = 1 << 20  # bytes


def append_line(path: Path, line: str) -> None:
    """Append a line (a JSON object without its line break) in one write. Remove a torn last line first.

    Raise OSError that names the file, such as for a full disk. The file then has its old end.
    """
    with name_file(path), path.open("a+b", buffering=0) as file:
        end, start = _repair(file)
        data = start + line.encode() + b"\n"
        try:
            while data:  # if the disk is full in the middle of the line, the second write raises
                data = data[file.write(data) :]
        except OSError:
            with suppress(OSError):
                file.truncate(end)
            raise


def read_objects(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file in order, without a torn last line. Return [] if the file does not exist.

    Raise OneLineError with file and line number for any other line that is not a JSON object.
    """
    return [row for row, _ in _parsed(path)]


def stream_objects(path: Path) -> Iterator[tuple[int, dict[str, Any] | Malformed]]:
    """Yield the objects of a file with their line numbers, one in memory at a time.

    A line that is not a JSON object is Malformed, also a torn last line. Skip blank lines. Raise OSError if the file
    cannot be read.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield number, _object(line)
            except ValueError as error:
                yield number, Malformed(str(error))


def count_lines(path: Path) -> tuple[int, bytes]:
    """Return the number of lines and the last one, without a torn last line; (0, b"") if the file does not exist."""
    number, last = 0, b""
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n") or _is_complete(line):
                    number, last = number + 1, line
    return number, last


def keep_objects(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Remove every object that is not wanted, atomically, with one in memory at a time. The other lines do not change.

    Raise OneLineError as `read_objects`, and OSError when the new file cannot be written.
    """
    if not all(wanted(row) for row, _ in _parsed(path)):
        _write(path, (line for row, line in _parsed(path) if wanted(row)))


def sort_objects(path: Path, key: Callable[[dict[str, Any]], Any]) -> None:
    """Sort the lines of a file by a key of their objects, atomically. Raise as `keep_objects`."""
    rows = list(_parsed(path))
    in_order = sorted(rows, key=lambda row: key(row[0]))
    if in_order != rows:
        _write(path, [line for _, line in in_order])


def _write(path: Path, lines: Iterable[bytes]) -> None:
    draft = path.with_suffix(".new")
    try:
        with name_file(draft):
            with draft.open("wb") as file:
                file.writelines(line + b"\n" for line in lines)
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _parsed(path: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield every object with the bytes of its line."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            whole = line.endswith(b"\n")
            line = line.removesuffix(b"\n")
            if not line.strip():
                continue
            try:
                row = _object(line)
            except ValueError as error:
                if not whole:
                    return
                raise OneLineError(f"{path}, line {number}: {error}; remove this line") from error
            yield row, line


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"must be a JSON object, is {type(value).__name__}")
    return value


def _is_complete(line: bytes) -> bool:
    try:
        _object(line)
    except ValueError:
        return False
    return True


def _repair(file: Any) -> tuple[int, bytes]:
    """Remove a torn last line from an open file. Return its end and the bytes to write before a new line."""
    end = file.seek(0, os.SEEK_END)
    tail, start = b"", end
    while start > 0 and b"\n" not in tail:
        step = min(BLOCK, start)
        start = file.seek(start - step)
        tail = file.read(step) + tail
    last = tail[tail.rfind(b"\n") + 1 :]
    if not last:
        return end, b""
    if _is_complete(last):
        return end, b"\n"
    file.truncate(end - len(last))
    return end - len(last), b""
