"""The shared parts of the commands that take a run: --help, signals, hosts, and one-line errors."""

import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console

from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.config import ConfigError, Run, asks_for_help, help_of
from mobile_r1_jax.runtime.console import say
from mobile_r1_jax.runtime.cpu_devices import prepare_cpu_devices
from mobile_r1_jax.runtime.hosts import Hosts
from mobile_r1_jax.runtime.interrupts import Interrupted, Interrupts
from mobile_r1_jax.runtime.joining import is_joined, join_hosts
from mobile_r1_jax.runtime.places import find_place

Body = Callable[[list[str], Console, Interrupts], None]


def run_command(command: str, description: str, arguments: Sequence[str] | None, body: Body) -> int:
    """Run a command and return its exit status: 0, 2 for what cannot start, 1 for other errors, 128 + a signal.

    body: is called with the arguments, the console and the handler of signals."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # it would report that torch is missing
    prepare_cpu_devices()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if asks_for_help(arguments):
        with suppress(BrokenPipeError):  # the reader, such as head, closed the pipe
            print(help_of(command, description, arguments), flush=True)
        return 0
    console, ends = Console(), False
    try:
        with Interrupts() as interrupts:
            body(arguments, console, interrupts)
    except ConfigError as error:
        status, message = 2, f"error: {error}"
    except OneLineError as error:
        status, message = 1, f"error: {error}"
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        status, message = 1, f"error: {named}{error.strerror or error}"
    except Interrupted as error:
        again = shlex.join(["python", "-m", f"mobile_r1_jax.{command}", *arguments])
        status, message, ends = error.status, f"stopped by {error}; to go on: {again}", True
    except BaseException:
        if not is_joined():
            raise
        status, message = 1, f"error: {traceback.format_exc()}"
    else:
        return 0
    if message.startswith("error:"):
        console.quiet = False
    try:
        say(console, message, style="red" if message.startswith("error:") else None)
        sys.stdout.flush()
    finally:
        if ends or is_joined():  # not to wait for threads that compile, nor for other hosts, as JAX would
            os._exit(status)
    return status


@contextmanager
def on_all_hosts(run: Run, console: Console, interrupts: Interrupts) -> Iterator[Hosts]:
    """Yield the processes of the run, after the others have come. Process 0 alone prints. Raise as `join_hosts`."""
    place = find_place(run.hosts.coordinator, run.hosts.count, run.hosts.index)
    with join_hosts(place, run.hosts.wait, interrupts) as hosts:
        console.quiet = not hosts.first
        yield hosts


def check_alone(run: Run, what: str) -> None:
    """Raise ConfigError in one line if the flags or a start tool say that this process is one of several."""
    place = find_place(run.hosts.coordinator, run.hosts.count, run.hosts.index)
    if place is not None:
        raise ConfigError(
            f"{what} runs in one process, and this is process {place.index} of {place.count}; start one (with Slurm: "
            "srun --ntasks=1), or add --hosts.count=1"
        )


def take_flag(arguments: list[str], flag: str) -> tuple[bool, list[str]]:
    """Return whether a flag without value is among the arguments, and the other arguments."""
    return flag in arguments, [argument for argument in arguments if argument != flag]


def take_value(arguments: list[str], flag: str) -> tuple[str | None, list[str]]:
    """Return the value of FLAG=VALUE, or None if it is missing, and the other arguments."""
    values = [argument.removeprefix(f"{flag}=") for argument in arguments if argument.startswith(f"{flag}=")]
    return (values or [None])[-1], [argument for argument in arguments if not argument.startswith(f"{flag}=")]
