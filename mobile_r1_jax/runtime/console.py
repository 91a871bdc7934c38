"""Messages on the console."""

from rich.console import Console


def say(console: Console, text: str, *, style: str | None = None) -> None:
    """Print a line as it is: not wrapped, and without markup, as rich would take a list such as [shop] for a style."""
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)
