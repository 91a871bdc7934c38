"""python -m mobile_r1_jax.act "INSTRUCTION": let a policy operate a phone, once."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from mobile_r1_jax.command_line import check_alone, run_command
from mobile_r1_jax.config import ConfigError, parse_run
from mobile_r1_jax.runtime.interrupts import Interrupts

DESCRIPTION = """Let a policy carry out one instruction on a phone. Each turn is a line: thought, action, effect.
The trajectory is saved with its pictures in FOLDER/act, and shown as a page at the end.
Without --phones.source it starts a simulated phone. Risky actions are confirmed (docs/howto/guard.md).

  python -m mobile_r1_jax.act "Turn Wifi on" --policy=runs/tiny:task_level
  python -m mobile_r1_jax.act "Turn on dark mode" --policy=DIRECTORY --phones.source=[devices]

  --max_turns=N   turns after which it stops (phones.most_turns)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("act", DESCRIPTION, arguments, act)


def act(arguments: list[str], console: Console, interrupts: Interrupts) -> None:
    """Carry out the instruction."""
    instructions = [argument for argument in arguments if not argument.startswith("--")]
    if len(instructions) != 1 or not instructions[0].strip():
        raise ConfigError('name one instruction in quotes, such as: python -m mobile_r1_jax.act "Turn on dark mode"')
    flags = [argument for argument in arguments if argument.startswith("--")]
    flags = [flag.replace("--max_turns=", "--phones.most_turns=") for flag in flags]
    run = parse_run("act", flags)
    check_alone(run, "act")
    if not any(flag.startswith("--name=") for flag in flags):
        run = replace(run, name="act")
    from mobile_r1_jax.stages.playing import carry_out  # here, as importing JAX and transformers takes seconds

    carry_out(instructions[0], run, flags, console, interrupts)


if __name__ == "__main__":
    sys.exit(main())
