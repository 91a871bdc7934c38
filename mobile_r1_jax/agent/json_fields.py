"""Fields of untrusted JSON records: each is read with the type that it must have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class BrokenError(ValueError):
    """Something in a record is wrong; the message says in one line what."""


def get_field(record: Mapping[str, Any], key: str, kind: type, default: Any = None) -> Any:
    """Return record[key] of exactly the type `kind`; `default`, unless None, replaces a missing key.

    Raise BrokenError that names the key."""
    if key not in record and default is not None:
        return default
    if key not in record:
        raise BrokenError(f"{key} is missing")
    return check_type(record[key], kind, key)


def parse_json(data: str | bytes, kind: type, what: str) -> Any:
    """Return the value of a JSON text, of exactly the type `kind`. Raise BrokenError that names it as `what`."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BrokenError(f"{what} is not JSON: {error}") from error
    return check_type(value, kind, what)


def check_numbers(value: Any, count: int, what: str) -> list[float]:
    """Return the value if it is a list of `count` numbers, which may be NaN. Raise BrokenError that names it."""
    if not (isinstance(value, list) and len(value) == count and all(type(part) in (int, float) for part in value)):
        raise BrokenError(f"{what} must be {count} numbers, is {value!r:.60}")
    return value


def check_type(value: Any, kind: type, what: str) -> Any:
    """Return the value if its type is exactly `kind` and a string is valid Unicode. Raise BrokenError that names it."""
    if type(value) is not kind:
        raise BrokenError(f"{what} must be {kind.__name__}, is {type(value).__name__}")
    if kind is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BrokenError(f"{what} is not valid Unicode") from None
    return value
