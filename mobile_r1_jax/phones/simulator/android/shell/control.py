"""How a shell leaves a list of commands early."""


class ExitShell(Exception):
    """`exit`."""

    def __init__(self, status: int) -> None:
        self.status = status & 255


class Aborted(ExitShell):
    """An error that ends the shell, unless it is interactive."""


class Returned(Exception):
    """`return` from a function or a script."""

    def __init__(self, status: int) -> None:
        self.status = status & 255


class BreakLoop(Exception):
    """`break` or `continue` of the loop `levels` levels out; 1 is the innermost one."""

    def __init__(self, levels: int, *, goes_on: bool) -> None:
        self.levels, self.goes_on = levels, goes_on
