"""The file of a directory's trajectories: encodings, compression and path."""

import gzip
from pathlib import Path

import pytest

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.data_files import data_file, has_data, read_lines

TEXT = '{"a": "买"}\n\n{"b": 1}\n'
LINES = [(1, '{"a": "买"}\n'), (3, '{"b": 1}\n')]
BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    "content",
    [TEXT.encode(), BOM + TEXT.encode(), gzip.compress(TEXT.encode()), gzip.compress(BOM + TEXT.encode())],
    ids=["plain", "mark", "gzip under a plain name", "mark in gzip"],
)
@pytest.mark.parametrize("name", ["data.jsonl", "data.jsonl.gz"])
def test_lines_are_read_with_byte_order_marks_line_ends_and_compression(
    tmp_path: Path, content: bytes, name: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert list(read_lines(tmp_path)) == LINES


def test_concatenated_files_keep_every_line(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_bytes(BOM + b"[1]\r\n" + BOM + b"[2]\n" + BOM)
    assert list(read_lines(tmp_path)) == [(1, "[1]\r\n"), (2, "[2]\n")]
    (tmp_path / "data.jsonl").write_bytes(gzip.compress(b"[1]\n") + gzip.compress(b"[2]\n"))
    assert list(read_lines(tmp_path)) == [(1, "[1]\n"), (2, "[2]\n")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wrong_encoding_is_reported_once(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "data.jsonl").write_bytes(TEXT.encode(encoding))
    [(number, line)] = read_lines(tmp_path)
    assert number == 1 and isinstance(line, Malformed) and "UTF-16 or UTF-32; save it as UTF-8" in line.reason


@pytest.mark.parametrize("damage", [lambda data: data[:-40], lambda data: data + b"junk", lambda data: data[:5]])
def test_damaged_gzip_file_gives_the_lines_before_the_damage(tmp_path: Path, damage) -> None:
    lines = b"".join(b'{"number": %d}\n' % number for number in range(20_000))
    (tmp_path / "data.jsonl.gz").write_bytes(damage(gzip.compress(lines)))
    *good, (number, last) = read_lines(tmp_path)
    assert isinstance(last, Malformed) and "gzip file is damaged" in last.reason and number == len(good) + 1
    assert all(isinstance(line, str) for _, line in good)


def test_plain_file_is_preferred_over_compressed_file(tmp_path: Path) -> None:
    assert not has_data(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no data\.jsonl in"):
        data_file(tmp_path)
    (tmp_path / "data.jsonl.gz").write_bytes(gzip.compress(b"[1]\n"))
    assert has_data(tmp_path) and data_file(tmp_path).name == "data.jsonl.gz"
    (tmp_path / "data.jsonl").write_bytes(b"[2]\n")
    assert data_file(tmp_path).name == "data.jsonl"
