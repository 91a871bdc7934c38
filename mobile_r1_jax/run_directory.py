"""A run's directory: one launch at a time, and a run goes on only with the settings and files that it began with.

config.yaml       the run as it was asked for        inputs.json       hashes of the policy and data it reads
checkpoints/      one folder a stage                 metrics.jsonl     a row an update, and tensorboard/
results.jsonl     a row an evaluation                trajectories/     what the agent did
annotations*/     what the oracle wrote              prepared/         annotations as the stages read them
policy/           the last policy, exported          report.html       the page
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

from mobile_r1_jax.agent.data_files import data_file
from mobile_r1_jax.agent.json_lines import keep_objects
from mobile_r1_jax.config import CONFIG, ConfigError, Run, plain, save_run
from mobile_r1_jax.evaluation.results import RESULTS
from mobile_r1_jax.stages.declaration import STAGES

INPUTS, CHECKPOINTS = "inputs.json", "checkpoints"
METRICS, CURVES, TRAJECTORIES = "metrics.jsonl", "tensorboard", "trajectories"
ANNOTATIONS, POLICY = {"annotations": "annotations", "action_level.annotations": "annotations-action-level"}, "policy"
EVERYTHING = (CONFIG, INPUTS, CHECKPOINTS, METRICS, CURVES, RESULTS, TRAJECTORIES, *ANNOTATIONS.values(), "prepared")
# Fields that a run may change when it goes on. A policy that has moved is known by its hash.
FREE = ("name", "folder", "policy", "policy_base", "mesh", "compiled", "save_every", "phones.count")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Make the directory, and hold the operating system's lock on it; the lock goes with the process that holds it.

    What is still empty at the end is removed. Raises ConfigError where another launch holds the lock, or where there
    can be no such directory.
    """
    try:
        made = [part for part in (directory, *directory.parents) if not part.exists()]
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "no permission to write there")
        handle = os.open(directory, os.O_RDONLY)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"folder: {directory} cannot be used ({reason}); choose another --folder") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another launch is using {directory}; wait for it, stop it, or give this run another --name"
            ) from None
        yield
    finally:
        with suppress(OSError):  # not empty
            for part in made:
                part.rmdir()
        os.close(handle)


def check(run: Run, policy_hash: str) -> None:
    """Raise ConfigError where the run's directory holds the work of other settings or files, which it names.

    Args:
      policy_hash: of the files of run.policy.
    """
    found = differences(run, inputs_of(run, policy_hash))
    if found and has_work(run.directory):
        raise ConfigError(
            f"{run.directory} was begun with other settings: {in_words(found)}. Go on with those, give this run "
            f"another --name, or add --force, which discards {contents(run.directory, first_affected(found))}"
        )


def begin(run: Run, policy_hash: str, *, say: Callable[[str], None]) -> None:
    """Discard what does not fit the run (see `check`), then write config.yaml and inputs.json.

    Args:
      say: called with a line that says what is discarded, before it is.
    """
    directory, inputs = run.directory, inputs_of(run, policy_hash)
    if found := differences(run, inputs):
        stage = first_affected(found)
        say(f"{in_words(found)}: discarding {contents(directory, stage)} in {directory}")
        discard(directory, stage)
    save_run(run)
    (directory / INPUTS).write_text(json.dumps(inputs, indent=2) + "\n")


def inputs_of(run: Run, policy_hash: str) -> dict[str, str]:
    """Return hashes of the files that a run reads: its policy, and the data.jsonl of annotations of the user's own."""
    inputs = {"policy": policy_hash}
    for name in ANNOTATIONS:
        if directory := getattr(attrgetter(name)(run), "directory", None):
            with data_file(directory).open("rb") as file:
                inputs[name] = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return inputs


def differences(run: Run, inputs: dict[str, str]) -> list[tuple[str, int]]:
    """Return what differs between a run and the one that its directory began with: each difference in words, and the
    index in STAGES of the first stage that it affects (len(STAGES): only evaluations)."""
    directory = run.directory
    begun = stages_begun(directory)
    if not (directory / CONFIG).is_file():
        return [(f"no {CONFIG} beside its checkpoints", 0)] if begun else []
    try:
        before = leaves(dict(yaml.safe_load((directory / CONFIG).read_text(encoding="utf-8"))))
        read = json.loads((directory / INPUTS).read_text()) if (directory / INPUTS).is_file() else {}
    except (yaml.YAMLError, ValueError, TypeError) as error:
        return [(f"its {CONFIG} or {INPUTS} cannot be read ({' '.join(str(error).split())})", 0)]
    now, defaults = leaves(plain(asdict(run))), leaves(plain(asdict(Run())))
    found = []
    for name in sorted({*before, *now} - set(FREE)):
        old, new = (values.get(name, defaults.get(name)) for values in (before, now))
        moved = name.removesuffix(".directory") in read and old and new  # known by its hash
        if old == new or moved:
            continue
        stage, _, rest = name.partition(".")
        affected = list(STAGES).index(stage) if stage in STAGES else len(STAGES) if stage == "evaluation" else 0
        if rest == "updates" and new > old:  # the stage goes on; what came after it began from its old end
            affected += 1
            if not set(begun) & set(list(STAGES)[affected:]):
                continue
        found.append((f"{name} was {in_a_line(old)}, is {in_a_line(new)}", affected))
    changed = [name for name in sorted(read.keys() & inputs.keys()) if read[name] != inputs[name]]
    return found + [(f"the files of {name} have changed", int(name.startswith("action_level"))) for name in changed]


def in_words(found: list[tuple[str, int]]) -> str:
    return "; ".join(words for words, _ in found)


def first_affected(found: list[tuple[str, int]]) -> int:
    return min(stage for _, stage in found)


def stages_begun(directory: Path) -> list[str]:
    """Return the stages that have a checkpoint, in order."""
    return [stage for stage in STAGES if any((directory / CHECKPOINTS / stage).glob("[0-9]*"))]


def has_work(directory: Path) -> bool:
    """Return whether a run directory holds more than data, which is drawn again in no time."""
    return bool(stages_begun(directory)) or (directory / RESULTS).exists()


def in_a_line(value: Any) -> str:
    return textwrap.shorten(str(value), 60, placeholder="...")


def leaves(values: Any, name: str = "") -> dict[str, Any]:
    """Return dotted name -> value of nested dicts."""
    if not isinstance(values, dict):
        return {name: values}
    parts = (leaves(value, f"{name}.{key}".removeprefix(".")) for key, value in values.items())
    return {path: leaf for part in parts for path, leaf in part.items()}


def contents(directory: Path, stage: int) -> str:
    """Return what `discard` would remove, in words."""
    gone = [name for name in list(STAGES)[stage:] if (directory / CHECKPOINTS / name).is_dir()]
    if not gone:
        return "the results" if stage else "its data and results"
    return f"the checkpoints of {', '.join(gone)}, {'' if stage else 'all data, '}and their results"


def discard(directory: Path, stage: int) -> None:
    """Remove what a run left from the stage with that index in STAGES on; 0: everything."""
    gone = list(STAGES)[stage:]
    titles = [STAGES[name] for name in gone] if stage < len(STAGES) else ["base", *STAGES.values()]
    paths = [directory / name for name in ((POLICY, *EVERYTHING) if stage == 0 else (POLICY,))]
    paths += [directory / folder / name for folder in (CHECKPOINTS, CURVES, TRAJECTORIES) for name in gone]
    paths += [directory / TRAJECTORIES / evaluation_name(title) for title in titles]
    paths += [directory / ANNOTATIONS["action_level.annotations"]] if stage == 1 else []
    paths += [directory / left_out_name(field) for field in ANNOTATIONS] if stage == 0 else []
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for file, names in ((METRICS, gone), (RESULTS, titles)):
        keep_objects(directory / file, lambda row, names=names: row.get("stage") not in names)


def left_out_name(field: str) -> str:
    """Return the file that lists which annotations were left out; `field`: a key of ANNOTATIONS."""
    return f"{ANNOTATIONS[field]}-left-out.txt"


def evaluation_name(title: str) -> str:
    """Return the folder of an evaluation's trajectories."""
    return f"evaluation-{title.replace(' ', '-')}"
