"""A TFDS builder over directories in the published trajectory schema: ArrayRecord files, read at random, no TensorFlow.

    dataset = prepare([Path("annotated")], data_dir=Path("prepared"))
    dataset.as_data_source("train")[0]["instruction"]

Screenshots are stored as PNG bytes, those of a PNG as they came: TFDS's own Image feature decodes, and needs TensorFlow
to do so. All pixels are decoded once, in the preparation, so that no damaged picture reaches training.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.data_files import IMAGES, data_file
from mobile_r1_jax.agent.trajectory import Trajectory, Turn, read_trajectories

logger = logging.getLogger(__name__)
# TFDS warns of every configuration that is not one of a builder's list; here none is.
logging.getLogger("absl").addFilter(lambda record: "Using custom data configuration" not in str(record.msg))

SPLIT = "train"
NO_BOX = (-1, -1, -1, -1)


class PhoneTrajectories(tfds.core.GeneratorBasedBuilder):
    """One example a trajectory; `info.metadata["broken"]` lists [file, line, reason] of every line left out.

    The configuration's name is a fingerprint of the data files and of the pictures' names, sizes and times, so that
    changed data is prepared anew, not mistaken for what an earlier run left in the same place.
    """

    VERSION = tfds.core.Version("1.2.0")  # raised whenever the features or the checks change

    def __init__(self, *, directories: Sequence[Path | str], **kwargs: Any) -> None:
        """`directories`: each holds data.jsonl and images/. Raises FileNotFoundError when one lacks data.jsonl."""
        self._directories = [Path(directory) for directory in directories]
        config = tfds.core.BuilderConfig(name=_fingerprint(self._directories))
        super().__init__(config=config, file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "file": tfds.features.Text(doc="the data.jsonl that the trajectory was read from"),
            "line": tfds.features.Scalar(np.int32, doc="its line there, from 1"),
            "app_name": tfds.features.Text(),
            "instruction": tfds.features.Text(),
            "system": tfds.features.Text(doc="the system message, the task in it"),
            "ending": tfds.features.Text(),
            "trajectory": tfds.features.Sequence(
                {
                    "image": tfds.features.Tensor(shape=(), dtype=np.object_, doc="encoded PNG bytes"),
                    "response": tfds.features.Text(doc="the full tagged response"),
                    "bbox": tfds.features.Tensor(shape=(4,), dtype=np.int32, doc="x1, y1, x2, y2, or -1 four times"),
                    "size": tfds.features.Tensor(shape=(2,), dtype=np.int32, doc="image annotated on: width, height"),
                    "mistake": tfds.features.Scalar(np.bool_, doc="history for what undoes it, no example to follow"),
                }
            ),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Annotated or recorded trajectories of a phone agent.",
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(broken=[]),
        )

    def _split_generators(self, _: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        broken = self.info.metadata["broken"]
        usable = 0
        for number, directory in enumerate(self._directories):
            file = data_file(directory)
            for line, trajectory in read_trajectories(directory):
                if isinstance(trajectory, Malformed):
                    logger.info("%s:%d: left out: %s", file, line, trajectory.reason)
                    broken.append([str(file), line, trajectory.reason])
                else:
                    usable += 1
                    # By these TFDS puts them in order: not by where they lie, or one seed would not give one order.
                    yield f"{number}:{line}", _example(file, line, trajectory)
        if not usable:
            named = ", ".join(map(str, self._directories))
            why = (
                "{} lines, all broken; the first: {}:{}: {}".format(len(broken), *broken[0])
                if broken
                else "no line in it"
            )
            raise ValueError(f"no usable trajectory in {named}: {why}")


def prepare(directories: Sequence[Path | str], data_dir: Path | str) -> PhoneTrajectories:
    """Prepares the directories' trajectories under `data_dir`, or finds them there; logs how many lines were broken.

    Raises ValueError when there is not one usable line, FileNotFoundError when a directory has no data.jsonl.
    """
    builder = PhoneTrajectories(directories=directories, data_dir=str(data_dir))
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints about downloads, of which there are none
        builder.download_and_prepare()
    broken = builder.info.metadata["broken"]
    usable = builder.info.splits[SPLIT].num_examples
    logger.info(
        "%d trajectories of %s; %d broken lines left out", usable, ", ".join(map(str, directories)), len(broken)
    )
    return builder


def _example(file: Path, line: int, trajectory: Trajectory) -> dict[str, Any]:
    return {
        "file": str(file),
        "line": line,
        "app_name": trajectory.app,
        "instruction": trajectory.task,
        "system": trajectory.system,
        "ending": trajectory.ending.value,
        "trajectory": [_step(turn) for turn in trajectory.turns],
    }


def _step(turn: Turn) -> dict[str, Any]:
    return {
        "image": turn.screenshot.png,
        "response": turn.response,
        "bbox": turn.bbox or NO_BOX,
        "size": (turn.frame.width, turn.frame.height),
        "mistake": turn.mistake,
    }


def _fingerprint(directories: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for directory in directories:
        path = data_file(directory)
        digest.update(f"{path}\n".encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        for picture in sorted((directory / IMAGES).glob("*")):
            found = picture.stat()
            digest.update(f"{picture.name} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
