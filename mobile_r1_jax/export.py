"""python -m mobile_r1_jax.export RUN --out DIR: the policy that a run has trained, as a Hugging Face model directory.

Adapters are merged into the weights that the run began with, or with --peft exported alone, as PEFT has them.
`transformers` loads the result, and so does a further run (--policy=DIR). Weights go from the checkpoint into the files
a part at a time: no accelerator is needed, and little memory whatever the policy's size. What stands beside the weights
(tokenizer, chat template, generation and preprocessor settings) is copied from the policy that the run began with.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # it would report that torch is missing

import jax

from mobile_r1_jax.stages.declaration import STAGES
from mobile_r1_jax.stages.export import export


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m mobile_r1_jax.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory, such as runs/tiny")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the directory to make")
    parser.add_argument(
        "--stage", choices=STAGES, help="whose last checkpoint to take (default: the latest that has one)"
    )
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="of the weights (default: as in the policy the run began with)"
    )
    parser.add_argument(
        "--policy", type=Path, metavar="DIR", help="the policy the run began with, where it is now, if it has moved"
    )
    parser.add_argument(
        "--peft", action="store_true", help="the adapters alone (in float32, unless --dtype says otherwise)"
    )
    chosen = vars(parser.parse_args(arguments))
    try:
        print(export(**chosen))
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")  # nothing is computed: leave the accelerator to those who do
    sys.exit(main())
