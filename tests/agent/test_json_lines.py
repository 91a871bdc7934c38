"""JSON lines that a kill or a full disk cut short: nothing complete is lost, and nothing blocks the next line."""

import errno
import json
import multiprocessing
import resource
import sys
import tracemalloc
from pathlib import Path

import pytest

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.agent.json_lines import append_line, keep_objects, read_objects, stream_objects

FIRST = '{"stage": "base", "note": "“ok” 好"}\n'.encode()


@pytest.mark.parametrize(
    "torn",
    [
        b'{"sta',
        b'{"stage": "base", "n": 1',
        b'{"stage": "\xe5\xa5',  # within a character
        b'{"n": [1, 2]',
        b"\0" * 5000,  # a power cut: the length was written, the bytes were not
        b'{"long": "' + b"x" * (3 << 20),  # longer than one block of reading
        b"{",
    ],
)
def test_cut_last_line_is_ignored_and_removed_by_the_next_append(torn: bytes, tmp_path: Path) -> None:
    for begun in (FIRST, b""):
        file = tmp_path / "rows.jsonl"
        file.write_bytes(begun + torn)
        there = [json.loads(begun)] if begun else []
        assert read_objects(file) == there
        append_line(file, '{"n": 2}')
        assert file.read_bytes() == begun + b'{"n": 2}\n'
        assert read_objects(file) == [*there, {"n": 2}]


def test_last_line_without_line_break_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    for last in ('{"n": 1}', "{}"):
        file.write_bytes(FIRST + last.encode())
        assert read_objects(file)[1:] == [json.loads(last)]
        append_line(file, '{"n": 2}')
        assert file.read_bytes() == FIRST + last.encode() + b'\n{"n": 2}\n'


@pytest.mark.parametrize("line", ['{"stage": "ba{"stage": "base"}', "[1]", "3", "{'a': 1}"])
def test_damaged_line_before_the_last_is_an_error_with_file_and_line(line: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{{"n": 1}}\n\n{line}\n{{"n": 2}}\n')
    with pytest.raises(OneLineError, match=r"rows\.jsonl, line 3: .*; remove this line") as caught:
        read_objects(file)
    assert "\n" not in str(caught.value)


def test_removing_objects_keeps_other_lines_byte_for_byte(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"n":  1}\n{"n": 2}\n{"n": 3.50}\n{"n": 4')
    keep_objects(file, lambda row: row["n"] != 2)
    assert file.read_bytes() == b'{"n":  1}\n{"n": 3.50}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def append_under_a_limit(file: Path) -> None:
    """Append until the operating system's limit on the size of a file cuts a line."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    try:
        for number in range(100):
            append_line(file, json.dumps({"n": number, "text": "x" * 20}))
    except OSError as error:
        sys.exit(error.errno if error.filename == str(file) else 1)


def test_line_that_does_not_fit_on_the_disk_leaves_earlier_lines(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    child = multiprocessing.get_context("spawn").Process(target=append_under_a_limit, args=(file,))
    child.start()
    child.join()
    assert [row["n"] for row in read_objects(file)] == [0, 1] and file.read_bytes().endswith(b"\n")
    assert child.exitcode == errno.EFBIG


def test_full_disk_error_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*rows\.jsonl'"):
        append_line(file, "{}")


def test_stream_gives_line_numbers_and_reasons_for_broken_lines(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a": 1}\n\n[2]\n\xff\n{"a": 3}\n{"a": ')
    rows = list(stream_objects(file))
    assert [row for _, row in rows if isinstance(row, dict)] == [{"a": 1}, {"a": 3}]
    broken = {number: row.reason for number, row in rows if isinstance(row, Malformed)}
    assert list(broken) == [3, 4, 6] and "must be a JSON object, is list" in broken[3] and "not JSON" in broken[6]


@pytest.mark.parametrize("kept", [5000, 4000, 0])
def test_removing_objects_keeps_one_in_memory(kept: int, tmp_path: Path) -> None:
    file, rows = tmp_path / "rows.jsonl", 5000
    file.write_text("".join(json.dumps({"n": number, "text": "x" * 2000}) + "\n" for number in range(rows)))
    tracemalloc.start()
    keep_objects(file, lambda row: row["n"] < kept)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20  # of a file of 10 MB
    assert [row["n"] for row in read_objects(file)] == list(range(kept))
