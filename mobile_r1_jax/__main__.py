"""mobile-r1 COMMAND ...: the commands under one name; `mobile-r1 launch` runs `python -m mobile_r1_jax.launch`."""

import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "launch": "train a policy through the three stages, or resume a run",
    "evaluate": "play tasks with any policy on any phones, without training",
    "act": "let a policy carry out one instruction on a phone",
    "export": "write the policy of a run as a Hugging Face model directory",
    "plan": "say whether a run fits an accelerator, and how long its updates take",
    "view": "show a run or a directory of trajectories as a page",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names; return its exit status."""
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in COMMANDS:
        return importlib.import_module(f"mobile_r1_jax.{name}").main(rest)
    lines = [f"  {command:8}{meaning}" for command, meaning in COMMANDS.items()]
    usage = "\n".join(["usage: mobile-r1 COMMAND ...", "", *lines, "", "mobile-r1 COMMAND --help lists what it takes."])
    if name in ("-h", "--help"):
        print(usage)
        return 0
    print(f"error: there is no command {name!r}; choose from {', '.join(COMMANDS)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
