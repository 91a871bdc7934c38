"""python -m mobile_r1_jax.export RUN --out DIR: write the policy of a run as a Hugging Face model directory.

Adapters are merged into the weights that the run began with, or with --peft exported alone in PEFT's format.
`transformers` loads the result, and so does another run (--policy=DIR). Weights are written one part at a time, so the
export needs no accelerator and little memory. The other files (tokenizer, chat template, generation and preprocessor
settings) are copied from the policy that the run began with.
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
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m mobile_r1_jax.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory, such as runs/tiny")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the directory to create")
    parser.add_argument(
        "--stage", choices=STAGES, help="the stage whose last checkpoint is exported (default: the latest with one)"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="of the weights (default: as in the policy that the run began with)",
    )
    parser.add_argument(
        "--policy", type=Path, metavar="DIR", help="the policy that the run began with, if it has moved"
    )
    parser.add_argument(
        "--peft", action="store_true", help="export only the adapters (in float32 unless --dtype is given)"
    )
    chosen = vars(parser.parse_args(arguments))
    try:
        print(export(**chosen))
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")  # the export computes nothing on an accelerator
    sys.exit(main())
