"""A TFDS builder over directories in the published trajectory schema: ArrayRecord files, read at random, no TensorFlow.

    dataset = prepare([Path("annotated")], data_dir=Path("prepared"))
    dataset.as_data_source("train")[0]["instruction"]

Screenshots lie beside the records, each distinct one once, as a PNG named by its hash: TFDS keeps all records in memory
while it puts them in order, and needs TensorFlow where they take more than a gigabyte. Every screenshot there has been
decoded, so that no damaged picture reaches training.
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
from mobile_r1_jax.agent.trajectory import Trajectory, Turn, image_name, read_trajectories, store_image

logger = logging.getLogger(__name__)
# TFDS warns of every configuration that is not one of a builder's list; here none is.
logging.getLogger("absl").addFilter(lambda record: "Using custom data configuration" not in str(record.msg))

SPLIT, PICTURES = "train", "pictures"
NO_BOX = (-1, -1, -1, -1)


class Pictures(Sequence[bytes]):
    """The PNG bytes of a trajectory's screenshots, read from their files one by one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int | slice) -> Any:
        return Pictures(self._paths[index]) if isinstance(index, slice) else self._paths[index].read_bytes()


class Records(Sequence[dict[str, Any]]):
    """Records of PhoneTrajectories, in which trajectory["image"] gives PNG bytes."""

    def __init__(self, source: Sequence[dict[str, Any]], pictures: Path) -> None:
        self._source, self._pictures = source, pictures

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        record = self._source[index]
        return record | {"trajectory": record["trajectory"] | {"image": Pictures(self._paths(record))}}

    def missing(self) -> list[Path]:
        """The files of screenshots that are gone since the preparation."""
        there = set(self._pictures.glob("*.png"))
        named = (path for index in range(len(self)) for path in self._paths(self._source[index]))
        return [path for path in named if path not in there]

    def _paths(self, record: dict[str, Any]) -> list[Path]:
        return [self._pictures / name.decode() for name in record["trajectory"]["image"]]


class PhoneTrajectories(tfds.core.GeneratorBasedBuilder):
    """One example a trajectory; `info.metadata["broken"]` lists [file, line, reason] of every line left out.

    The configuration's name is a fingerprint of the data files and of the pictures' names, sizes and times, so that
    changed data is prepared anew, not mistaken for what an earlier run left in the same place.
    """

    VERSION = tfds.core.Version("1.2.0")  # raised whenever the features or the checks change

    def __init__(self, *, directories: Sequence[Path | str], data_dir: Path | str, **kwargs: Any) -> None:
        """`directories`: each holds data.jsonl and images/. Raises FileNotFoundError when one lacks data.jsonl."""
        self._directories = [Path(directory) for directory in directories]
        self._pictures = Path(data_dir) / PICTURES
        config = tfds.core.BuilderConfig(name=_fingerprint(self._directories))
        super().__init__(config=config, file_format="array_record", data_dir=str(data_dir), **kwargs)

    def as_data_source(self, split: str = SPLIT, **kwargs: Any) -> Records:
        """The prepared trajectories, to be read at random; their screenshots are read when they are asked for."""
        return Records(super().as_data_source(split, **kwargs), self._pictures)

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
                    "image": tfds.features.Text(doc="the PNG's name under pictures/"),
                    "picture": tfds.features.Tensor(shape=(2,), dtype=np.int32, doc="its width, height in pixels"),
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
        self._pictures.mkdir(parents=True, exist_ok=True)
        decoded = {picture.stem for picture in self._pictures.glob("*.png")}
        for number, directory in enumerate(self._directories):
            file = data_file(directory)
            for line, trajectory in read_trajectories(directory, decoded):
                if isinstance(trajectory, Malformed):
                    logger.info("%s:%d: left out: %s", file, line, trajectory.reason)
                    broken.append([str(file), line, trajectory.reason])
                else:
                    usable += 1
                    for turn in trajectory.turns:
                        store_image(self._pictures, turn.screenshot)
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

    Raises ValueError when there is not one usable line, or when prepared files are gone; FileNotFoundError when a
    directory has no data.jsonl.
    """
    builder = PhoneTrajectories(directories=directories, data_dir=data_dir)
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints about downloads, of which there are none
        builder.download_and_prepare()
    if missing := builder.as_data_source().missing():
        raise ValueError(f"{len(missing)} prepared screenshots are gone, the first: {missing[0]}; delete {data_dir}")
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
        "image": image_name(turn.screenshot),
        "picture": (turn.screenshot.width, turn.screenshot.height),
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
