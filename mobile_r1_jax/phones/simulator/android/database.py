"""The tables behind content:// in SQLite, as on Android: contacts, and copies of the rows of settings and apps."""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

Value = str | int | None
Row = tuple[Value, ...]

_LONGEST = 1_000_000  # bytes of a value and steps of a statement: no condition may stop the simulator

_CONTACTS = """
CREATE TABLE raw_contacts (_id INTEGER PRIMARY KEY AUTOINCREMENT, account_name TEXT, account_type TEXT,
    display_name TEXT, starred INTEGER NOT NULL DEFAULT 0);
CREATE TABLE data (_id INTEGER PRIMARY KEY AUTOINCREMENT, raw_contact_id INTEGER, mimetype TEXT, data1 TEXT,
    data2 TEXT, data3 TEXT);
CREATE VIEW phones AS SELECT data._id, raw_contact_id, display_name, starred, data1, data1 AS number FROM data
    JOIN raw_contacts ON raw_contacts._id = raw_contact_id WHERE mimetype = 'vnd.android.cursor.item/phone_v2';
CREATE TRIGGER named AFTER INSERT ON data WHEN NEW.mimetype = 'vnd.android.cursor.item/name'
    BEGIN UPDATE raw_contacts SET display_name = NEW.data1 WHERE _id = NEW.raw_contact_id; END;
CREATE TRIGGER deleted AFTER DELETE ON raw_contacts BEGIN DELETE FROM data WHERE raw_contact_id = OLD._id; END;
"""
CONTACT_TABLES = {
    "com.android.contacts/raw_contacts": "raw_contacts",
    "com.android.contacts/contacts": "raw_contacts",
    "com.android.contacts/data": "data",
    "com.android.contacts/data/phones": "phones",
    "contacts/phones": "phones",
}
"""content:// path -> table or, for "phones", view."""


class Table(NamedTuple):
    """A table for `select` and `change`."""

    database: sqlite3.Connection
    name: str

    @property
    def columns(self) -> list[str]:
        return [row[1] for row in self.database.execute(f"PRAGMA table_info({self.name})")]

    def select(self, columns: Sequence[str], where: str, order: str) -> list[Row]:
        """Return rows. `where` and `order` are SQL. Raises sqlite3.Error or sqlite3.Warning if they are wrong."""
        condition = f" WHERE ({where})" if where else ""
        return self.database.execute(
            f"SELECT {', '.join(columns)} FROM {self.name}{condition}{f' ORDER BY {order}' if order else ''}"
        ).fetchall()

    def insert(self, values: Mapping[str, Value]) -> None:
        marks = ", ".join("?" * len(values))
        names = f" ({', '.join(values)}) VALUES ({marks})" if values else " DEFAULT VALUES"
        self.database.execute(f"INSERT INTO {self.name}{names}", tuple(values.values()))

    def update(self, values: Mapping[str, Value], where: str) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        condition = f" WHERE ({where})" if where else ""
        self.database.execute(f"UPDATE {self.name} SET {names}{condition}", tuple(values.values()))

    def delete(self, where: str) -> None:
        self.database.execute(f"DELETE FROM {self.name}{f' WHERE ({where})' if where else ''}")


def _connect() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    connection.set_progress_handler(lambda: 1, _LONGEST)
    return connection


def contacts() -> sqlite3.Connection:
    """Return the database of a phone without contacts."""
    connection = _connect()
    connection.executescript(_CONTACTS)
    return connection


def copied(columns: Sequence[str], rows: Sequence[Row]) -> Table:
    """Return a table with these rows. A column of numbers compares with numbers, as Android's do."""
    connection = _connect()
    kinds = ["TEXT" if any(isinstance(row[at], str) for row in rows) else "INTEGER" for at in range(len(columns))]
    names = ", ".join(f"{name} {kind}" for name, kind in zip(columns, kinds, strict=True))
    connection.execute(f"CREATE TABLE copy ({names})")
    connection.executemany(f"INSERT INTO copy VALUES ({', '.join('?' * len(columns))})", rows)
    return Table(connection, "copy")


class Appearances:
    """When the rows of the apps' tables appeared: their columns _id and date. `note` must be called after changes.

    Tables may share rows, as those of all messages and of the sent ones do.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[Row, int], tuple[int, int]] = {}  # row, which of equal rows -> _id, date
        self._last = 0

    def note(self, tables: Iterable[Sequence[Row]]) -> None:
        """Give every new row its number and the time in milliseconds since 1970, and forget the rows that are gone."""
        present = {key: None for rows in tables for key in _keys(rows)}  # in their order
        self._seen = {key: self._seen.get(key) or self._new() for key in present}

    def _new(self) -> tuple[int, int]:
        self._last += 1
        return self._last, round(1000 * time.time())

    def added(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows with _id and date in front, oldest first."""
        return sorted((*self._seen[key], *key[0]) for key in _keys(rows))


def _keys(rows: Sequence[Row]) -> list[tuple[Row, int]]:
    counts: Counter[Row] = Counter()
    keys = []
    for row in rows:
        keys.append((row, counts[row]))
        counts[row] += 1
    return keys
