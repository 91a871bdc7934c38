"""python -m mobile_r1_jax.launch: train a policy through all three stages, with evaluations on phones."""

import sys
from collections.abc import Sequence

from rich.console import Console

from mobile_r1_jax.command_line import on_all_hosts, run_command, take_flag
from mobile_r1_jax.config import parse_run
from mobile_r1_jax.runtime.interrupts import Interrupts

DESCRIPTION = """Train a policy through the three stages, and evaluate it on phones before and after each.
Without arguments it runs configs/tiny.yaml: the demo, made for two cores and no accelerator.
A run with the name of an earlier run continues it.

  python -m mobile_r1_jax.launch
  python -m mobile_r1_jax.launch --config=configs/3b-v5e-8.yaml --policy=DIRECTORY
  python -m mobile_r1_jax.launch --annotations.directory=DIRECTORY --action_level.annotations=null
  python -m mobile_r1_jax.launch --config=configs/devices.yaml --policy=DIRECTORY --tasks=FILE.yaml
  python -m mobile_r1_jax.launch --hosts.coordinator=HOST:PORT --hosts.count=2 --hosts.index=0   # and index 1 elsewhere

  --force   discard the work of an earlier run of this name that had other settings
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("launch", DESCRIPTION, arguments, train)


def train(arguments: list[str], console: Console, interrupts: Interrupts) -> None:
    """Run the recipe."""
    force, flags = take_flag(arguments, "--force")
    run = parse_run("launch", flags)
    with on_all_hosts(run, console, interrupts) as hosts:
        from mobile_r1_jax.stages.recipe import run_recipe  # here, as importing JAX and transformers takes seconds

        run_recipe(run, console, interrupts, force=force, hosts=hosts)


if __name__ == "__main__":
    sys.exit(main())
