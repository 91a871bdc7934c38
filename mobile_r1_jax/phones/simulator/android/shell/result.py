"""The result of a command that needs no standard input and prints all at once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """The result of a command: (descriptor 1 or 2, bytes) in the order of writing, and the exit status."""

    chunks: tuple[tuple[int, bytes], ...] = ()
    status: int = 0

    def output(self, descriptor: int) -> bytes:
        return b"".join(data for to, data in self.chunks if to == descriptor)


def printed(text: str | bytes, status: int = 0) -> Result:
    """Return a result with `text` on standard output."""
    data = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    return Result(((1, data),) if data else (), status)


def failed(text: str, status: int = 1) -> Result:
    """Return a result with the line `text` on standard error."""
    return Result(((2, f"{text}\n".encode(errors="surrogateescape")),), status)
