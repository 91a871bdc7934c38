"""A TFDS builder for directories in the published trajectory schema: ArrayRecord files with random access.

    dataset = prepare([Path("annotated")], data_dir=Path("prepared"))
    dataset.as_data_source("train")[0]["instruction"]

TensorFlow is not needed. Each distinct screenshot is stored once next to the records, as a PNG named by its hash. TFDS
sorts all records in memory and needs TensorFlow if they have more than a gigabyte, so records hold no screenshots. The
builder decodes every screenshot, so that training gets no damaged image.
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
# TFDS warns about every configuration outside a builder's list. This builder has no list.
logging.getLogger("absl").addFilter(lambda record: "Using custom data configuration" not in str(record.msg))

SPLIT, PICTURES = "train", "pictures"
NO_BOX = (-1, -1, -1, -1)


class Pictures(Sequence[bytes]):
    """The PNG bytes of a trajectory's screenshots, each read from its file on access."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int | slice) -> Any:
        return Pictures(self._paths[index]) if isinstance(index, slice) else self._paths[index].read_bytes()


class Records(Sequence[dict[str, Any]]):
    """Records of PhoneTrajectories whose trajectory["image"] is PNG bytes."""

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
        """Return the screenshot files that no longer exist."""
        found = set(self._pictures.glob("*.png"))
        named = (path for index in range(len(self)) for path in self._paths(self._source[index]))
        return [path for path in named if path not in found]

    def _paths(self, record: dict[str, Any]) -> list[Path]:
        return [self._pictures / name.decode() for name in record["trajectory"]["image"]]


class PhoneTrajectories(tfds.core.GeneratorBasedBuilder):
    """A data set with one example per trajectory; `info.metadata["broken"]` lists [file, line, reason] of broken lines.

    The configuration's name is a fingerprint of the data files and of the names, sizes and times of the images. Changed
    data is therefore prepared again.
    """

    VERSION = tfds.core.Version("1.4.0")  # increase when the features or the checks change

    def __init__(self, *, directories: Sequence[Path | str], data_dir: Path | str, **kwargs: Any) -> None:
        """`directories`: each holds data.jsonl and images/. Raises FileNotFoundError if one has no data.jsonl."""
        self._directories = [Path(directory) for directory in directories]
        self._pictures = Path(data_dir) / PICTURES
        config = tfds.core.BuilderConfig(name=_fingerprint(self._directories))
        super().__init__(config=config, file_format="array_record", data_dir=str(data_dir), **kwargs)

    def as_data_source(self, split: str = SPLIT, **kwargs: Any) -> Records:
        """Return the prepared trajectories with random access. Screenshots are read on access."""
        return Records(super().as_data_source(split, **kwargs), self._pictures)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "file": tfds.features.Text(doc="the data.jsonl of the trajectory"),
            "line": tfds.features.Scalar(np.int32, doc="its line in the file, from 1"),
            "app_name": tfds.features.Text(),
            "instruction": tfds.features.Text(),
            "system": tfds.features.Text(doc="the system message with the task"),
            "ending": tfds.features.Text(),
            "coordinates": tfds.features.Text(doc="the pixels of all coordinates, if declared, else auto"),
            "trajectory": tfds.features.Sequence(
                {
                    "image": tfds.features.Text(doc="the PNG's name under pictures/"),
                    "picture": tfds.features.Tensor(shape=(2,), dtype=np.int32, doc="its width, height in pixels"),
                    "response": tfds.features.Text(doc="the full tagged response"),
                    "bbox": tfds.features.Tensor(shape=(4,), dtype=np.int32, doc="x1, y1, x2, y2, or -1 four times"),
                    "size": tfds.features.Tensor(
                        shape=(2,), dtype=np.int32, doc="width, height of the annotated image"
                    ),
                    "effect": tfds.features.Text(doc="what the phone did, in words"),
                    "mistake": tfds.features.Scalar(np.bool_, doc="stays in the history, is not trained on"),
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
                    # TFDS sorts by these keys. They hold no paths, so that a seed gives one order on every machine.
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
    """Prepare the directories' trajectories under `data_dir`, or reuse them; log the number of broken lines.

    Raises ValueError if no line is usable or prepared files are missing, FileNotFoundError if a directory has no
    data.jsonl.
    """
    builder = PhoneTrajectories(directories=directories, data_dir=data_dir)
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints about downloads; there are none
        builder.download_and_prepare()
    if missing := builder.as_data_source().missing():
        raise ValueError(f"{len(missing)} prepared screenshots are gone, the first: {missing[0]}; delete {data_dir}")
    broken = builder.info.metadata["broken"]
    usable = builder.info.splits[SPLIT].num_examples
    logger.info(
        "%d trajectories of %s; %d broken lines left out", usable, ", ".join(map(str, directories)), len(broken)
    )
    return builder


def trajectory_record(file: Path, line: int, trajectory: Trajectory) -> dict[str, Any]:
    """Return a trajectory as an unprepared record, with its screenshots in memory."""
    example = _example(file, line, trajectory)
    steps = [_step(turn) | {"image": turn.screenshot.png} for turn in trajectory.turns]
    columns = {key: [step[key] for step in steps] for key in steps[0]}
    columns |= {key: np.array(columns[key]) for key in ("picture", "bbox", "size", "mistake")}
    columns |= {key: [text.encode() for text in columns[key]] for key in ("response", "effect")}
    texts = {key: value.encode() for key, value in example.items() if isinstance(value, str)}
    return example | texts | {"trajectory": columns}


def _example(file: Path, line: int, trajectory: Trajectory) -> dict[str, Any]:
    return {
        "file": str(file),
        "line": line,
        "app_name": trajectory.app,
        "instruction": trajectory.task,
        "system": trajectory.system,
        "ending": trajectory.ending.value,
        "coordinates": trajectory.coordinates,
        "trajectory": [_step(turn) for turn in trajectory.turns],
    }


def _step(turn: Turn) -> dict[str, Any]:
    return {
        "image": image_name(turn.screenshot),
        "picture": (turn.screenshot.width, turn.screenshot.height),
        "response": turn.response,
        "bbox": turn.bbox or NO_BOX,
        "size": (turn.frame.width, turn.frame.height),
        "effect": turn.effect,
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
