"""The command content, which reads the tables of the apps and of the settings."""

import re

from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android

_OPTIONS = ("--uri", "--projection", "--where", "--sort", "--user")
_EQUAL = re.compile(r"""(\w+)\s*=\s*(?:'((?:[^']|'')*)'|"([^"]*)"|(\d+))""")


class _Failure(Exception):
    """A Java exception of a provider."""


def content(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`content query --uri URI [--projection A:B] [--where "A='x'"] [--sort "A [ASC|DESC]"]`.

    Failures have Android's text. Unlike Android's they have a status that is not 0.
    """
    if arguments[:1] != ["query"]:
        return failed(f"[ERROR] Unsupported operation: {arguments[0] if arguments else None}")
    options: dict[str, str] = {}
    words = iter(arguments[1:])
    for word in words:
        if word not in _OPTIONS:
            return failed(f"[ERROR] Unsupported argument: {word}")
        value = next(words, "")
        if not value:
            return failed(f"[ERROR] No value for argument: {word}")
        options[word] = value
    match = re.match(r"content://([^/?#]+)/?([^?#]*)", options.get("--uri", ""))
    if match is None:
        return failed("[ERROR] Content provider URI not specified. Did you specify --uri argument?")
    provider, path = match[1], match[2].rstrip("/")
    try:
        rows = _query(_table(android, provider, path), options)
    except _Failure as error:
        return failed(f"Error while accessing provider:{provider}\n{error}\n\tat com.android.commands.content.Content")
    if not rows:
        return printed("No result found.\n")
    lines = (
        f"Row: {position} {', '.join(f'{name}={value}' for name, value in row.items())}\n"
        for position, row in enumerate(rows)
    )
    return printed("".join(lines))


def _table(android: Android, provider: str, path: str) -> list[dict[str, str]]:
    if provider == "settings" and path in android.settings:
        table = sorted(android.settings[path].items())
        return [{"_id": str(k), "name": name, "value": value} for k, (name, value) in enumerate(table, start=1)]
    rows = android.device.content(f"{provider}/{path}".rstrip("/"))
    if rows is None:
        raise _Failure(f"java.lang.IllegalStateException: Could not find provider: {provider}")
    return rows


def _query(rows: list[dict[str, str]], options: dict[str, str]) -> list[dict[str, str]]:
    columns = set().union(*rows)
    for name, value in _conditions(options.get("--where", "")):
        _check(name, columns)
        rows = [row for row in rows if row.get(name) == value]
    if "--sort" in options:
        name, _, order = options["--sort"].partition(" ")
        _check(name, columns)
        if order.strip().upper() not in ("", "ASC", "DESC"):
            raise _Failure(f'android.database.sqlite.SQLiteException: near "{order}": syntax error (code 1)')
        numbers = all(row[name].isdecimal() for row in rows)
        rows = sorted(
            rows,
            key=lambda row: (int(row[name]), "") if numbers else (0, row[name]),
            reverse=order.strip().upper() == "DESC",
        )
    if "--projection" in options:
        names = options["--projection"].split(":")
        for name in names:
            _check(name, columns)
        rows = [{name: row[name] for name in names} for row in rows]
    return rows


def _check(name: str, columns: set[str]) -> None:
    if columns and name not in columns:
        raise _Failure(f"java.lang.IllegalArgumentException: Invalid column {name}")


def _conditions(where: str) -> list[tuple[str, str]]:
    """Return (column, value) of conditions such as "name='x' AND type=2". No other operator is known."""
    found = []
    for part in re.split(r"\s+AND\s+", where.strip(), flags=re.IGNORECASE) if where else []:
        match = _EQUAL.fullmatch(part.strip())
        if match is None:
            raise _Failure(f'android.database.sqlite.SQLiteException: near "{part}": syntax error (code 1)')
        single, double, number = match[2], match[3], match[4]
        found.append((match[1], single.replace("''", "'") if single is not None else double or number or ""))
    return found
