"""The command content: it reads the tables of the apps, the settings and the contacts, and changes the contacts."""

import re
import sqlite3
from collections.abc import Sequence

from mobile_r1_jax.phones.simulator.android.database import CONTACT_TABLES, Table, Value, copied
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android

_OPTIONS = {
    "query": ("--uri", "--projection", "--where", "--sort", "--user"),
    "insert": ("--uri", "--bind", "--user"),
    "update": ("--uri", "--bind", "--where", "--user"),
    "delete": ("--uri", "--where", "--user"),
}
_NUMBERS = {"b": bool, "i": int, "l": int, "f": float, "d": float}  # kinds of --bind; s is text, n nothing


class _Failure(Exception):
    """A Java exception of a provider."""


class _Wrong(Exception):
    """A mistake in the command."""


def content(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`content query --uri URI [--projection A:B] [--where SQL] [--sort SQL]`; also insert, update and delete.

    Failures have Android's text. Unlike Android's they have a status that is not 0.
    """
    verb = arguments[0] if arguments else ""
    try:
        if verb not in _OPTIONS:
            raise _Wrong(f"Unsupported operation: {verb or None}")
        options, values = _parse(verb, arguments[1:])
        match = re.match(r"content://([^/?#]+)/?([^?#]*)", options.get("--uri", ""))
        if match is None:
            raise _Wrong("Content provider URI not specified. Did you specify --uri argument?")
        provider, path = match[1], f"{match[1]}/{match[2]}".rstrip("/")
        table = _table(android, provider, path)
        return _do(verb, table, options, values, changeable=path in CONTACT_TABLES)
    except _Wrong as error:
        return failed(f"[ERROR] {error}")
    except _Failure as error:
        return failed(f"Error while accessing provider:{provider}\n{error}\n\tat com.android.commands.content.Content")
    except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
        reason = f"android.database.sqlite.SQLiteException: {error} (code 1 SQLITE_ERROR)"
        return failed(f"Error while accessing provider:{provider}\n{reason}\n\tat com.android.commands.content.Content")


def _parse(verb: str, arguments: list[str]) -> tuple[dict[str, str], dict[str, Value]]:
    """Return the options, and the values of --bind by column."""
    options: dict[str, str] = {}
    values: dict[str, Value] = {}
    words = iter(arguments)
    for word in words:
        if word not in _OPTIONS[verb]:
            raise _Wrong(f"Unsupported argument: {word}")
        text = next(words, "")
        if not text:
            raise _Wrong(f"No value for argument: {word}")
        if word == "--bind":
            values |= _binding(text)
        else:
            options[word] = text
    return options, values


def _binding(text: str) -> dict[str, Value]:
    name, kind, value = [*text.split(":", 2), "", ""][:3]
    if kind not in (*_NUMBERS, "s", "n"):
        raise _Wrong(f"Unsupported type: {kind}")
    try:
        return {name: None if kind == "n" else _NUMBERS.get(kind, str)(value)}
    except ValueError:
        raise _Wrong(f"Not a number: {value}") from None


def _table(android: Android, provider: str, path: str) -> Table:
    if path in CONTACT_TABLES:
        return Table(android.contacts, CONTACT_TABLES[path])
    namespace = path.removeprefix("settings/")
    if provider == "settings" and namespace in android.settings:
        rows = sorted(android.settings[namespace].items())
        return copied(("_id", "name", "value"), [(at, *row) for at, row in enumerate(rows, start=1)])
    table = android.device.tables.get(path)
    if table is None:
        raise _Failure(f"java.lang.IllegalStateException: Could not find provider: {provider}")
    android.note()
    return copied(("_id", "date", *table.columns), android.appearances.added(table.rows))


def _do(verb: str, table: Table, options: dict[str, str], values: dict[str, Value], *, changeable: bool) -> Result:
    where = options.get("--where", "")
    if verb == "query":
        names = options["--projection"].split(":") if "--projection" in options else table.columns
        _check(table, names)
        rows = table.select(names, where, options.get("--sort", ""))
        return printed("".join(_line(at, names, row) for at, row in enumerate(rows)) or "No result found.\n")
    if not changeable:
        raise _Failure("java.lang.UnsupportedOperationException: only contacts can be changed")
    _check(table, list(values))
    if verb == "insert":
        table.insert(values)
    elif verb == "delete":
        table.delete(where)
    elif values:
        table.update(values, where)
    return Result()


def _check(table: Table, names: list[str]) -> None:
    if wrong := sorted(set(names) - set(table.columns)):
        raise _Failure(f"java.lang.IllegalArgumentException: Invalid column {wrong[0]}")


def _line(at: int, names: Sequence[str], row: Sequence[Value]) -> str:
    cells = (f"{name}={'NULL' if value is None else value}" for name, value in zip(names, row, strict=True))
    return f"Row: {at} {', '.join(cells)}\n"
