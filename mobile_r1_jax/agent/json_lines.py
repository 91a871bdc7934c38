"""Files of JSON objects, one a line, that a process may be killed in the middle of writing.

A kill or a full disk can leave the last line incomplete. The start of a JSON object is never a whole one, so parsing
tells whether a last line without a line break is complete or torn. Readers ignore a torn last line. The next append
removes it.
"""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mobile_r1_jax.agent.errors import OneLineError, name_file

BLOCK = 1 << 20  # bytes


def append_line(path: Path, line: str) -> None:
    """Append a line (a JSON object without its line break) in one write; a torn last line is removed first.

    Raises OSError that names the file, such as for a full disk. The file then ends where it ended before.
    """
    with name_file(path), path.open("a+b", buffering=0) as file:
        end, start = _repair(file)
        data = start + line.encode() + b"\n"
        try:
            while data:  # where the disk fills up within the line, the second write says so
                data = data[file.write(data) :]
        except OSError:
            with suppress(OSError):
                file.truncate(end)
            raise


def read_objects(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file in order, without a torn last line; none where there is no file.

    Raises OneLineError with the file and the line for another line that is no JSON object.
    """
    return [row for row, _ in _parsed(path)]


def keep_objects(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Remove every object that is not wanted, all or nothing; the other lines stay as they are.

    Raises OneLineError as `read_objects`, and OSError when the new file cannot be written.
    """
    rows = _parsed(path)
    kept = [line for row, line in rows if wanted(row)]
    if len(kept) == len(rows):
        return
    draft = path.with_suffix(".new")
    try:
        with name_file(draft):
            draft.write_bytes(b"".join(line + b"\n" for line in kept))
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _parsed(path: Path) -> list[tuple[dict[str, Any], bytes]]:
    """Return every object beside the bytes of its line."""
    if not path.exists():
        return []
    *whole, last = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(whole, 1):
        if line.strip():
            try:
                rows.append((_object(line), line))
            except ValueError as error:
                raise OneLineError(f"{path}, line {number}: {error}; remove this line") from error
    if _is_whole(last):
        rows.append((_object(last), last))
    return rows


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"must be a JSON object, is {type(value).__name__}")
    return value


def _is_whole(line: bytes) -> bool:
    try:
        _object(line)
    except ValueError:
        return False
    return True


def _repair(file: Any) -> tuple[int, bytes]:
    """Remove a torn last line from an open file; return where the file ends, and what must precede the next line."""
    end = file.seek(0, os.SEEK_END)
    tail, start = b"", end
    while start > 0 and b"\n" not in tail:
        step = min(BLOCK, start)
        start = file.seek(start - step)
        tail = file.read(step) + tail
    last = tail[tail.rfind(b"\n") + 1 :]
    if not last:
        return end, b""
    if _is_whole(last):
        return end, b"\n"
    file.truncate(end - len(last))
    return end - len(last), b""
