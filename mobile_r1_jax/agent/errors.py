"""The errors that a command prints as one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class OneLineError(ValueError):
    """A failure whose message is one line: what is wrong, where, and how to fix it. Commands print no traceback."""


@contextmanager
def name_file(path: Path) -> Iterator[None]:
    """Add the name of the file to an OSError of the block, such as for a full disk: writing does not name it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
