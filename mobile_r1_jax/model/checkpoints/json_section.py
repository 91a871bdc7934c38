"""Reading of a model directory's JSON files. Each error is one line with the file, and the field or the line in it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def read_json(file: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds. Raise ValueError in one line when the file is unreadable or broken."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:  # no JSON, or no UTF-8
        raise ValueError(f"{file} is not valid JSON ({error}); copy or download it again") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file} holds a {type(values).__name__}, need a JSON object; copy or download it again")
    return values


@dataclass(frozen=True)
class Section:
    """One object of a parsed JSON file, read field by field.

    A field that is null counts as missing. A field without a default must be there. All methods raise ValueError in one
    line that begins with `place`, such as "config.json: vision_config.".
    """

    values: Mapping[str, Any]
    place: str

    def get(self, key: str) -> Any:
        """Return the field as it is, None when it is missing."""
        return self.values.get(key)

    def section(self, key: str, default: Mapping[str, Any] | None = None) -> "Section":
        """Return a field that is an object."""
        place = f"{self.place}{key}."
        return Section(self._read(key, default, lambda value: isinstance(value, Mapping), "an object"), place)

    def count(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        """Return a field that is a whole number of at least `least`."""
        return self._read(key, default, lambda value: _is_whole(value, least), f"a whole number from {least} on")

    def number(self, key: str, default: float | None = None) -> float:
        """Return a field that is a number of at least 0, as a float."""
        return float(self._read(key, default, lambda value: _is_whole(value) or _is_float(value), "a number from 0 on"))

    def counts(self, key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Return a field that is a list of whole numbers."""
        return tuple(self._read(key, default, _are_whole, "a list of whole numbers"))

    def tokens(self, key: str) -> tuple[int, ...]:
        """Return a field that is one token id or a list of them; nothing when it is missing."""
        found = self._read(key, (), lambda value: _is_whole(value) or _are_whole(value), "a token id or a list of them")
        return (found,) if isinstance(found, int) else tuple(found)

    def _read(self, key: str, default: Any, is_valid: Any, need: str) -> Any:
        value = self.values.get(key)
        if value is None:
            if default is None:
                raise ValueError(f"{self.place}{key} is missing; copy or download the file again")
            return default
        if not is_valid(value):
            raise ValueError(f"{self.place}{key} is {value!r}, need {need}")
        return value


def _is_whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _are_whole(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_whole, value))


def _is_float(value: Any) -> bool:
    return isinstance(value, float) and value >= 0
