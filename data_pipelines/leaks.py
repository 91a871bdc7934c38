"""python -m data_pipelines.leaks TRAIN TEST: find instructions and screenshots that both directories have.

A directory holds data.jsonl and images/, as `convert` writes it: images are named by their hashes. Screens such as an
empty home screen occur in many episodes; an instruction that occurs in both directories makes an evaluation invalid.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_pipelines.splitting import normalise
from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.data_files import IMAGES, data_file, read_lines
from mobile_r1_jax.agent.json_fields import BrokenError, get_field, parse_json


@dataclass(frozen=True)
class Leak:
    """An entry of both directories. kind: instruction or screenshot. places: "file:line", or the files of the image."""

    kind: str
    what: str
    places: tuple[str, str]


def find_leaks(train: Path, test: Path) -> Iterator[Leak]:
    """Yield each instruction, then each screenshot, of `test` that is also in `train`.

    Instructions are compared without case, spaces and a final stop. Raise FileNotFoundError if one has no data.jsonl.
    """
    tested: dict[str, str] = {}
    for key, _, place in _instructions(test):
        tested.setdefault(key, place)
    for key, instruction, place in _instructions(train):
        if key in tested:
            yield Leak("instruction", instruction, (place, tested.pop(key)))
    for picture in sorted((test / IMAGES).glob("*")):
        if (train / IMAGES / picture.name).exists():
            yield Leak("screenshot", picture.name, (str(train / IMAGES / picture.name), str(picture)))


def _instructions(directory: Path) -> Iterator[tuple[str, str, str]]:
    file = data_file(directory)
    for number, line in read_lines(directory):
        if not isinstance(line, Malformed):
            try:
                instruction = get_field(parse_json(line, dict, "line"), "instruction", str)
            except BrokenError:
                continue
            yield normalise(instruction), instruction, f"{file}:{number}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 without a leak, 1 with one, 2 for an error."""
    parser = argparse.ArgumentParser(prog="python -m data_pipelines.leaks", description=__doc__)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    chosen, status = parser.parse_args(arguments), 0
    try:
        for leak in find_leaks(chosen.train, chosen.test):
            print(f"{leak.kind}: {leak.what}: {leak.places[0]} and {leak.places[1]}")
            status = 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
