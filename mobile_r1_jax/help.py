"""`--help` of the commands that take a run: each field with its value and one line of meaning."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

import yaml
from simple_parsing.docstring import get_attribute_docstring

USAGE = """usage: python -m mobile_r1_jax.{command} [--config=FILE] [--FIELD=VALUE ...]

{description}
Every field below is a flag, and a key of the YAML file that --config names. Flags win over the file.
Each line shows the value without the flag ({origin}). null means "none".
"""


def help_text(command: str, description: str, run: Any, origin: str) -> str:
    """Return the text of `--help`.

    Args:
      description: lines that say what the command does, with its own flags.
      run: a config.Run, whose values are printed.
      origin: the source of these values, in words.
    """
    parts = [USAGE.format(command=command, description=description, origin=origin)]
    for name, note, rows in sections(run):
        width = min(44, max(len(flag) for flag, _ in rows))
        parts.append("\n".join([f"{name}: {note}" if note else f"{name}:"]))
        parts += [f"  {flag:{width}}  {meaning}".rstrip() for flag, meaning in rows]
        parts.append("")
    return "\n".join(parts)


def sections(value: Any, name: str = "") -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Yield (section, one line of meaning, its rows) for a dataclass, then for each dataclass inside it.

    A row is ("--field=value", meaning)."""
    hints, inner, rows = get_type_hints(type(value)), [], []
    for field in fields(value):
        path = f"{name}.{field.name}".removeprefix(".")
        now, meaning = getattr(value, field.name), meaning_of(type(value), field.name)
        kind = next((kind for kind in (hints[field.name], *get_args(hints[field.name])) if is_dataclass(kind)), None)
        if kind is None:
            rows.append((f"--{path}={as_text(now)}", meaning))
        elif now is None:
            inner.append((path, f"{meaning} It is null here; any of these flags sets it.", kind()))
        else:
            inner.append((path, meaning, now))
    yield name or "the run", "", rows
    for path, meaning, part in inner:
        nested = list(sections(part, path))
        yield path, meaning, nested[0][2]
        yield from nested[1:]


def meaning_of(owner: type, name: str) -> str:
    """Return the comment after or above a field of a dataclass, as one line."""
    return " ".join(get_attribute_docstring(owner, name).help_string.split())


def as_text(value: Any) -> str:
    """Return a value as text for a flag."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return yaml.safe_dump(list(value), default_flow_style=True, width=1000).strip()
    return f"'{value}'" if isinstance(value, str) and " " in value else str(value)
