"""The simulated phone's shell: mksh, as far as people's scripts and tools use it.

`parse` reads a command line into a syntax tree, once per distinct line. A `Shell` runs the tree. It is asynchronous:
a shell that sleeps or waits for its standard input lets the other phones of the process work.
"""

import asyncio

from mobile_r1_jax.phones.simulator.android.shell.interpreter import Shell
from mobile_r1_jax.phones.simulator.android.shell.result import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.shell.streams import Host, Input, Process, Program, Session

__all__ = ["Host", "Input", "Process", "Program", "Result", "Session", "Shell", "failed", "printed", "run"]


def run(host: Host, line: str, stdin: bytes = b"") -> Result:
    """Run a command line to its end, outside of an event loop."""
    session = Session(host)
    shell = Shell(session, Input(stdin), session.writer(1), session.writer(2))
    status = asyncio.run(shell.run(line))
    return Result(tuple(session.chunks), status)
