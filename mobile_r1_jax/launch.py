"""python -m mobile_r1_jax.launch: train a policy through all three stages, with evaluations on phones."""

import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console

from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.config import ConfigError, asks_for_help, help_of, parse_run
from mobile_r1_jax.runtime.hosts import Hosts
from mobile_r1_jax.runtime.interrupts import Interrupted, Interrupts
from mobile_r1_jax.runtime.joining import join_hosts
from mobile_r1_jax.runtime.places import find_place

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # it would report that torch is missing

DESCRIPTION = """Train a policy through the three stages, and evaluate it on phones before and after each.
Without arguments it runs configs/tiny.yaml: the demo, made for two cores and no accelerator.
A run with the name of an earlier run continues it.

  python -m mobile_r1_jax.launch
  python -m mobile_r1_jax.launch --config=configs/3b-v5e-8.yaml --policy=DIRECTORY
  python -m mobile_r1_jax.launch --annotations.directory=DIRECTORY --action_level.annotations=null
  python -m mobile_r1_jax.launch --hosts.coordinator=HOST:PORT --hosts.count=2 --hosts.index=0   # and index 1 elsewhere

  --force   discard the work of an earlier run of this name that had other settings
"""
FORCE = "--force"
PLAIN = {"highlight": False, "markup": False, "soft_wrap": True}  # how a message is printed as it is


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if asks_for_help(arguments):
        with suppress(BrokenPipeError):  # the reader, such as head, closed the pipe
            print(help_of("launch", DESCRIPTION, arguments), flush=True)
        return 0
    console, flags = Console(), [argument for argument in arguments if argument != FORCE]
    hosts = Hosts()
    try:
        with Interrupts() as interrupts:
            run = parse_run("launch", flags)
            place = find_place(run.hosts.coordinator, run.hosts.count, run.hosts.index)
            with join_hosts(place, run.hosts.wait, interrupts) as hosts:
                console.quiet = not hosts.first
                # Here, as importing JAX and transformers takes seconds.
                from mobile_r1_jax.stages.recipe import run_recipe

                run_recipe(run, console, interrupts, force=FORCE in arguments, hosts=hosts)
    except ConfigError as error:
        status, message = 2, f"error: {error}"
    except OneLineError as error:
        status, message = 1, f"error: {error}"
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        status, message = 1, f"error: {named}{error.strerror or error}"
    except Interrupted as error:
        command = shlex.join(["python", "-m", "mobile_r1_jax.launch", *flags])
        status, message = error.status, f"stopped by {error}; to go on: {command}"
    except Exception as error:
        if hosts.count == 1:
            raise
        status, message = 1, f"error: {''.join(traceback.format_exception(error))}"
    else:
        return 0
    if message.startswith("error:"):
        console.quiet = False
    # Without markup: rich would take a list such as [shop] in a message for a style, and drop it.
    console.print(message, style="red" if message.startswith("error:") else None, **PLAIN)
    hosts.end(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
