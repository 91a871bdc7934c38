"""How Android's services report failed commands: am, pm, wm, settings, ime and, from Android 11 on, input."""

from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed

NEGATIVE = 255  # the exit status of a service's result -1


class Raised(Exception):
    """A Java exception inside a service's command, such as "java.lang.IllegalArgumentException: No intent supplied"."""


def raised(version: int, verb: str, exception: str) -> Result:
    """Return what Android prints when the command `verb` raises `exception`, a Java class and its message."""
    if version > 10:
        head, frame = f"Exception occurred while executing '{verb}':", "BasicShellCommandHandler"
    elif exception.startswith("java.lang.SecurityException: "):
        head, frame = f"Security exception: {exception.partition(': ')[2]}\n", "ShellCommand"
    else:
        head, frame = "Exception occurred while executing:", "ShellCommand"
    return failed(f"\n{head}\n{exception}\n\tat android.os.{frame}.exec({frame}.java:97)", NEGATIVE)


def missing_operand(after: str) -> Raised:
    """Return the exception for an operand that is missing after the word `after`."""
    return Raised(f'java.lang.IllegalArgumentException: Argument expected after "{after}"')


def default_command(verb: str, heading: str) -> Result:
    """Return the answer to a command that a service does not have. No command and `help` show the service's help."""
    if verb in ("", "help", "-h"):
        return printed(f"{heading} commands:\n  help\n    Print this help text.\n", NEGATIVE)
    return printed(f"Unknown command: {verb}\n", NEGATIVE)
