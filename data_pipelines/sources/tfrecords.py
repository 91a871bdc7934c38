"""TFRecord files, GZIP or plain, and the `tf.train.Example` in each record, without TensorFlow.

A file is a sequence of: length (uint64, little endian), masked CRC-32C of the length, the bytes, masked CRC-32C of the
bytes. GZIP files may have several members.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from google.protobuf.message import DecodeError, Message

from data_pipelines.sources.crc32c import crc32c
from data_pipelines.sources.messages import message_types
from mobile_r1_jax.agent.json_fields import BrokenError

_GZIP = b"\x1f\x8b"
_NAME = re.compile(r".*-\d{5}-of-\d{5}|.*\.tfrecords?(\.gz)?")
_LONGEST = 1 << 31  # bytes; the longest message that protobuf reads
_EXAMPLE = message_types(
    {
        "Example": {"features": (1, "Features")},
        "Features": {"feature": (1, "repeated Entry")},
        "Entry": {"key": (1, "bytes"), "value": (2, "Feature")},
        "Feature": {"bytes_list": (1, "BytesList"), "float_list": (2, "FloatList"), "int64_list": (3, "Int64List")},
        "BytesList": {"value": (1, "repeated bytes")},
        "FloatList": {"value": (1, "repeated float")},
        "Int64List": {"value": (1, "repeated int64")},
    }
)["Example"]
_LISTS = {bytes: "bytes_list", float: "float_list", int: "int64_list"}


@dataclass(frozen=True)
class Record:
    """One record. number: in its file, from 1. data: its bytes, or why they cannot be read. fraction: the share of all
    files up to its end."""

    file: str
    number: int
    data: bytes | BrokenError
    fraction: float


def record_files(path: Path) -> list[Path]:
    """Return the TFRecord files of a path: itself, or those below it whose names look like one, in order."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if _NAME.fullmatch(file.name) and file.is_file())


def read_records(path: Path) -> Iterator[Record]:
    """Stream the records of all TFRecord files of a path, one in memory at a time.

    A record with a wrong checksum is broken and the next one follows. After a wrong length or damaged GZIP data
    the rest of the file cannot be read, and its last record has the reason.
    """
    files = record_files(path)
    sizes = [file.stat().st_size for file in files]
    for index, file in enumerate(files):
        before, name = sum(sizes[:index]), str(file.relative_to(path)) if file != path else file.name
        with file.open("rb") as stored:
            compressed = stored.read(len(_GZIP)) == _GZIP
            stored.seek(0)
            stream = gzip.GzipFile(fileobj=stored) if compressed else stored
            for number, data in enumerate(_records(stream), 1):
                yield Record(name, number, data, (before + stored.tell()) / max(sum(sizes), 1))


def parse_example(data: bytes) -> Mapping[str, Message]:
    """Return the features of a serialised tf.train.Example by name. Raise BrokenError for other bytes."""
    entries = parse_message(_EXAMPLE, data, "the record").features.feature
    return {entry.key.decode(errors="replace"): entry.value for entry in entries}


def first_features(path: Path) -> frozenset[str]:
    """Return the names of the features of the first record of a path that can be read; empty if there is none."""
    for record in islice(read_records(path), 3):
        if isinstance(record.data, bytes):
            with suppress(BrokenError):
                return frozenset(parse_example(record.data))
    return frozenset()


def parse_message(kind: type[Message], data: bytes, what: str) -> Any:
    """Return a protobuf message. Raise BrokenError that names it as `what`."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise BrokenError(f"{what} cannot be decoded: {error}") from error


def get_list(features: Mapping[str, Message], key: str, kind: type) -> list[Any]:
    """Return the values of a feature of bytes, float or int; [] if it is absent. Raise BrokenError for another type."""
    if key not in features:
        return []
    lists = {name: getattr(features[key], name).value for name in _LISTS.values()}
    if any(values for name, values in lists.items() if name != _LISTS[kind]):
        raise BrokenError(f"{key} must be a list of {kind.__name__}")
    return list(lists[_LISTS[kind]])


def get_one(features: Mapping[str, Message], key: str, kind: type) -> Any:
    """Return the one value of a feature; kind str: of UTF-8 bytes. Raise BrokenError if it has none or several."""
    values = get_list(features, key, bytes if kind is str else kind)
    if len(values) != 1:
        raise BrokenError(f"{key} must have one value, has {len(values)}")
    return decode_text(values[0], key) if kind is str else values[0]


def decode_text(data: bytes, what: str) -> str:
    """Return UTF-8 bytes as text. Raise BrokenError that names them as `what`."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BrokenError(f"{what} is not UTF-8: {error}") from error


def _records(stream: BinaryIO) -> Iterator[bytes | BrokenError]:
    try:
        while header := stream.read(12):
            length = int.from_bytes(header[:8], "little")
            if len(header) < 12 or _masked(header[:8]) != int.from_bytes(header[8:], "little"):
                yield BrokenError("damaged from here on: the length of the record has a wrong checksum")
                return
            if length > _LONGEST:
                yield BrokenError(f"damaged from here on: a record of {length} bytes")
                return
            data, checksum = stream.read(length), stream.read(4)
            if len(data) < length or len(checksum) < 4:
                yield BrokenError("the file ends in this record; download it again")
                return
            intact = _masked(data) == int.from_bytes(checksum, "little")
            yield data if intact else BrokenError("the record is damaged: it has a wrong checksum")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield BrokenError(f"the gzip file is damaged from here on: {error}")


def _masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
