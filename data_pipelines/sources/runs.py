"""Runs of this project: their successful rollouts, as annotations for another run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import yaml

from data_pipelines.sources.drafts import Draft, Episode, Source
from data_pipelines.sources.mobile_r1 import read_line, to_draft
from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.coordinates import DetectedFrame
from mobile_r1_jax.agent.data_files import IMAGES, data_file, has_data, read_lines
from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.agent.json_fields import BrokenError
from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.agent.trajectory import Ending

_CONFIG, _FOLDER = "config.yaml", "trajectories"


def recognises(path: Path) -> bool:
    """Return whether a path is a run directory with rollouts."""
    return (path / _CONFIG).is_file() and (path / _FOLDER).is_dir()


def read_episodes(path: Path) -> Iterator[Episode]:
    """Stream the rollouts of a run, folder by folder; those of its evaluations are the split test.

    Coordinates are in pixels of the images that the policy saw: config.yaml has their resizing. Raise OneLineError if
    it is broken."""
    file = path / _CONFIG
    try:
        resizing = Resizing(**yaml.safe_load(file.read_text(encoding="utf-8"))["resizing"])
    except (yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        raise OneLineError(f"{file} is broken ({' '.join(str(error).split())}); restore it") from error
    found = DetectedFrame("resized", resizing, "")
    folders = sorted(folder for folder in (path / _FOLDER).iterdir() if has_data(folder))
    for index, folder in enumerate(folders, 1):
        split = "test" if folder.name.startswith("evaluation") else "train"
        name = data_file(folder).relative_to(path)
        for number, line in read_lines(folder):
            load = partial(read_rollout, line, folder / IMAGES, found, split)
            yield Episode(f"{name}:{number}", index / len(folders), load)


def read_rollout(line: str | Malformed, images: Path, found: DetectedFrame, split: str) -> Draft:
    """Return the draft of a rollout. Raise BrokenError, also for one that did not succeed."""
    trajectory = read_line(line, images)
    if trajectory.ending is not Ending.SUCCESS:
        raise BrokenError(f"it ended as {trajectory.ending}, so it is not an example")
    return to_draft(trajectory, found, split)


RUNS = Source(
    name="runs",
    title="a run of this project",
    url="",
    licence="other",
    rights="The licence of the apps on its screens, and that of the policy, apply.",
    holds="config.yaml and trajectories/*/data.jsonl",
    recognises=recognises,
    episodes=read_episodes,
)
