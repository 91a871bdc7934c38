"""TFRecord files without TensorFlow: records, features and damage."""

import gzip
import random
import struct
from pathlib import Path

import pytest
from encoded import bytes_feature, example, float_feature, int_feature, masked, record, write_records
from encoded import crc32c as plain_crc32c

from data_pipelines.sources.crc32c import crc32c
from data_pipelines.sources.tfrecords import get_list, get_one, parse_example, read_records
from mobile_r1_jax.agent.json_fields import BrokenError


@pytest.mark.parametrize(
    ("data", "value"), [(b"", 0), (b"123456789", 0xE3069283), (b"\0" * 32, 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)]
)
def test_checksum_equals_published_values(data: bytes, value: int) -> None:
    assert crc32c(data) == value


@pytest.mark.parametrize("length", [1, 4095, 4096, 4097, 12_345, 50_000])
def test_checksum_of_any_length_equals_the_bitwise_definition(length: int) -> None:
    data = random.Random(length).randbytes(length)
    assert crc32c(data) == plain_crc32c(data)


RECORDS = [b"", b"one", random.Random(0).randbytes(9000)]


@pytest.mark.parametrize("members", [True, False])
def test_records_keep_their_order_over_one_or_several_gzip_members(tmp_path: Path, members: bool) -> None:
    for number in (1, 0):
        write_records(tmp_path / "sub" / f"a-0000{number}-of-00002", *RECORDS, members=members)
    (tmp_path / "splits.json").write_text("{}")
    found = list(read_records(tmp_path))
    assert [one.data for one in found] == RECORDS * 2
    assert [(one.file, one.number) for one in found][2:4] == [("sub/a-00000-of-00002", 3), ("sub/a-00001-of-00002", 1)]
    assert found[-1].fraction == 1 and sorted(one.fraction for one in found) == [one.fraction for one in found]


def test_uncompressed_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.tfrecord").write_bytes(b"".join(map(record, RECORDS)))
    assert [one.data for one in read_records(tmp_path / "a.tfrecord")] == RECORDS


WHOLE = b"".join(map(record, [b"first", b"second", b"third"]))
SECOND = len(record(b"first"))


def flipped(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (flipped(WHOLE, SECOND + 13), [b"first", "wrong checksum", b"third"]),
        (flipped(WHOLE, SECOND + 20), [b"first", "wrong checksum", b"third"]),  # of the checksum itself
        (flipped(WHOLE, SECOND), [b"first", "length of the record has a wrong checksum"]),
        (flipped(WHOLE, SECOND + 9), [b"first", "length of the record has a wrong checksum"]),
        (WHOLE[:-1], [b"first", b"second", "the file ends in this record"]),
        (WHOLE[: SECOND + 5], [b"first", "length of the record has a wrong checksum"]),
        (WHOLE[: SECOND + 14], [b"first", "the file ends in this record"]),
        (WHOLE + b"\0", [b"first", b"second", b"third", "length of the record has a wrong checksum"]),
    ],
)
@pytest.mark.parametrize("compressed", [True, False])
def test_damaged_record_is_reported_and_the_others_are_read(
    tmp_path: Path, data: bytes, expected: list, compressed: bool
) -> None:
    (tmp_path / "a-00000-of-00001").write_bytes(gzip.compress(data) if compressed else data)
    found = [one.data for one in read_records(tmp_path)]
    assert len(found) == len(expected)
    for one, meant in zip(found, expected, strict=True):
        assert one == meant if isinstance(meant, bytes) else isinstance(one, BrokenError) and meant in str(one)


def test_record_with_a_huge_declared_length_takes_no_memory(tmp_path: Path) -> None:
    length = struct.pack("<Q", 1 << 40)
    (tmp_path / "a.tfrecord").write_bytes(length + masked(length) + b"x")
    [one] = read_records(tmp_path)
    assert "a record of 1099511627776 bytes" in str(one.data)


@pytest.mark.parametrize("cut", [10, 40, -6])
def test_truncated_gzip_file_is_reported_and_the_next_file_is_read(tmp_path: Path, cut: int) -> None:
    whole = gzip.compress(record(random.Random(1).randbytes(500)))
    (tmp_path / "a-00000-of-00002").write_bytes(whole[:cut])
    write_records(tmp_path / "a-00001-of-00002", b"whole")
    *_, damaged, following = read_records(tmp_path)
    assert "gzip file is damaged" in str(damaged.data) and following.data == b"whole"


def test_packed_unpacked_and_absent_features_are_read() -> None:
    for packed in (True, False):
        data = example(
            {"i": int_feature(0, -1, 1 << 40, packed=packed), "f": float_feature(0.5, -1, packed=packed), "e": b""}
        )
        features = parse_example(data)
        assert get_list(features, "i", int) == [0, -1, 1 << 40] and get_list(features, "f", float) == [0.5, -1]
        assert (
            get_list(features, "e", bytes) == get_list(features, "e", int) == get_list(features, "nothing", int) == []
        )


@pytest.mark.parametrize(
    ("feature", "kind", "reason"),
    [
        (int_feature(1, 2), int, "x must have one value, has 2"),
        (b"", int, "x must have one value, has 0"),
        (int_feature(1), str, "x must be a list of bytes"),
        (bytes_feature("1"), int, "x must be a list of int"),
        (bytes_feature(b"\xff"), str, "x is not UTF-8"),
    ],
)
def test_wrong_feature_is_reported_with_its_name(feature: bytes, kind: type, reason: str) -> None:
    with pytest.raises(BrokenError, match=reason):
        get_one(parse_example(example({"x": feature})), "x", kind)


@pytest.mark.parametrize("data", [b"\xff\xff", b"\x0a\x05ab", random.Random(3).randbytes(60)])
def test_bytes_that_are_not_an_example_are_an_error(data: bytes) -> None:
    with pytest.raises(BrokenError, match="the record cannot be decoded"):
        parse_example(data)
