"""python -m mobile_r1_jax.view DIRECTORY: write a run, or any directory of trajectories, as an HTML page."""

import argparse
import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # no warning about missing torch, which is not needed

from mobile_r1_jax.viewer import ReportError, write_report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m mobile_r1_jax.view", description=__doc__)
    parser.add_argument("directory", type=Path, help="a run directory, or a directory with data.jsonl and images/")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    chosen = parser.parse_args(arguments)
    try:
        path = write_report(chosen.directory)
    except (ReportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(path)
    if chosen.open:
        webbrowser.open(path.resolve().as_uri())
    return 0


if __name__ == "__main__":
    sys.exit(main())
