"""A run's directory. One launch at a time may use it, and a run continues only with the same settings and files.

config.yaml       the settings of the run            inputs.json       hashes of the policy and data that it reads
checkpoints/      one folder per stage, or a bucket  metrics.jsonl     a row per update; also in tensorboard/, wandb/
results.jsonl     a row per evaluation               trajectories/     all episodes
annotations*/     written by the oracle              prepared/         annotations as the stages read them
policy/           the last policy, exported          report.html       the report page
judge/            grades of the chat judge
exported/         policies of stages that other runs or commands use
offline/          predictions for annotated data and their scores
run.json          an entry per start: code, libraries, devices, command; patches/ has changes to the code
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml
from etils import epath

from mobile_r1_jax.agent.data_files import data_file
from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.agent.json_lines import keep_objects
from mobile_r1_jax.agent.whole_files import write_whole
from mobile_r1_jax.config import CONFIG, SIMULATOR, ConfigError, Run, save_run, to_plain
from mobile_r1_jax.evaluation.results import RESULTS
from mobile_r1_jax.rewards.judges.settings import FREE_SETTINGS
from mobile_r1_jax.saved_run import saved_checkpoints
from mobile_r1_jax.stages.declaration import STAGES
from mobile_r1_jax.training.checkpoint_storage import entries, prepare_storage

INPUTS, CHECKPOINTS = "inputs.json", "checkpoints"
METRICS, CURVES, TRAJECTORIES = "metrics.jsonl", "tensorboard", "trajectories"
EXPORTED, OFFLINE, JUDGE = "exported", "offline", "judge"
ANNOTATIONS, POLICY = {"annotations": "annotations", "action_level.annotations": "annotations-action-level"}, "policy"
EVERYTHING = (CONFIG, INPUTS, CHECKPOINTS, METRICS, CURVES, RESULTS, OFFLINE, TRAJECTORIES, "prepared")
EVERYTHING += ("wandb", *ANNOTATIONS.values())
# Fields that may change when a run continues. A policy that has moved is identified by its hash, and predictions name
# the data that they answer.
FREE = ("name", "folder", "policy", "policy_base", "mesh", "compiled", "save_every", "phones.count")
FREE += ("keep", "keep_every", "checkpoints")  # where they were and are is compared apart
FREE += ("evaluation.data", "evaluation.data_frame")
FREE += ("phones.devices.server", "phones.devices.serials", "phones.timings")
FREE += ("tracking.wandb", "tracking.project", "tracking.name")
FREE += tuple(f"phones.emulators.{name}" for name in ("count", "copies", "loads", "first_port"))
# Those of the judge: its address and its rates. A rubric is identified by its hash.
FREE += tuple(f"judge.{name}" for name in FREE_SETTINGS)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Create the directory, and hold the operating system's lock on it; the lock ends with the process.

    At the end, remove new directories that are still empty. Raise ConfigError when another launch holds the lock, or
    when the directory cannot be created or used.
    """
    try:
        created = [part for part in (directory, *directory.parents) if not part.exists()]
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
            for part in created:
                part.rmdir()
        os.close(handle)


def check(run: Run, policy_hash: str) -> None:
    """Raise ConfigError when the run's directory holds work of other settings or files; the message names them.

    Args:
      policy_hash: hash of the files of run.policy.
    """
    changes = differences(run, inputs_of(run, policy_hash))
    if changes and has_work(run):
        raise ConfigError(
            f"{run.directory} was begun with other settings: {in_words(changes)}. Go on with those, give this run "
            f"another --name, or add --force, which discards {contents(run, first_affected(changes))}"
        )


def check_storage(run: Run) -> None:
    """Raise ConfigError in one line unless the checkpoints of a run can be written, and those that it has be read."""
    try:
        for folder in checkpoint_folders(run):
            prepare_storage(folder, write=folder == run.checkpoint_folder)
    except OneLineError as error:
        raise ConfigError(str(error)) from error


def checkpoint_folders(run: Run) -> list[epath.Path]:
    """Return where the checkpoints of a run lie: by its settings, and by the config.yaml of its last start."""
    folders = [run.checkpoint_folder]
    with suppress(yaml.YAMLError, ValueError, TypeError, AttributeError):  # a file that cannot be read
        folders.append(saved_checkpoints(run.directory))
    return list(dict.fromkeys(folders))


def begin(run: Run, policy_hash: str, *, say: Callable[[str], None]) -> None:
    """Discard work that does not match the run (see `check`), then write config.yaml and inputs.json.

    Args:
      say: called with a line about what will be discarded.
    """
    directory, inputs = run.directory, inputs_of(run, policy_hash)
    if changes := differences(run, inputs):
        stage = first_affected(changes)
        say(f"{in_words(changes)}: discarding {contents(run, stage)} in {directory}")
        discard(run, stage)
    save_run(run)
    write_whole(directory / INPUTS, json.dumps(inputs, indent=2) + "\n")


def inputs_of(run: Run, policy_hash: str) -> dict[str, str]:
    """Return hashes of the files that a run reads: policy, task file, data.jsonl of annotations, and rubric."""
    inputs = {"policy": policy_hash}
    if run.tasks != SIMULATOR:
        inputs["tasks"] = file_hash(Path(run.tasks))
    if run.judge.rubric is not None:
        inputs["judge.rubric"] = file_hash(run.judge.rubric)
    for name in ANNOTATIONS:
        settings = attrgetter(name)(run)
        if settings and settings.directories:
            inputs[name] = "+".join(file_hash(data_file(directory)) for directory in settings.directories)
    return inputs


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, 16 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def differences(run: Run, inputs: dict[str, str]) -> list[tuple[str, int]]:
    """Return the differences between a run and the settings and files in its directory.

    A difference is a text and the index in STAGES of the first stage that it affects; len(STAGES): only evaluations."""
    directory = run.directory
    started = started_stages(run)
    if not (directory / CONFIG).is_file():
        return [(f"no {CONFIG} beside its checkpoints", 0)] if started else []
    try:
        before = leaves(dict(yaml.safe_load((directory / CONFIG).read_text(encoding="utf-8"))))
        read = json.loads((directory / INPUTS).read_text()) if (directory / INPUTS).is_file() else {}
    except (yaml.YAMLError, ValueError, TypeError) as error:
        return [(f"its {CONFIG} or {INPUTS} cannot be read ({' '.join(str(error).split())})", 0)]
    now, defaults = leaves(to_plain(asdict(run))), leaves(to_plain(asdict(Run())))
    changes = []
    if started and (old := saved_checkpoints(directory)) != (new := run.checkpoint_folder):
        changes.append((f"checkpoints were in {old}, are in {new}", 0))
    for name in sorted({*before, *now} - set(FREE)):
        if name.startswith("hosts."):
            continue
        old, new = (values.get(name, defaults.get(name)) for values in (before, now))
        moved = name.removesuffix(".directory") in read and old and new  # compared by its hash
        if old == new or moved:
            continue
        if name == "stages":
            affected = first_other_stage(old, new)
            if set(started) & set(list(STAGES)[affected:]):
                changes.append((f"{name} was {in_a_line(old)}, is {in_a_line(new)}", affected))
            continue
        stage, _, rest = name.partition(".")
        affected = first_stage(stage)
        if rest == "updates" and new > old:  # the stage continues; only later stages started from its old end
            affected += 1
            if not set(started) & set(list(STAGES)[affected:]):
                continue
        changes.append((f"{name} was {in_a_line(old)}, is {in_a_line(new)}", affected))
    changed_files = [name for name in sorted(read.keys() & inputs.keys()) if read[name] != inputs[name]]
    changes += [(f"the files of {name} have changed", first_stage(name.split(".")[0])) for name in changed_files]
    return changes


def first_stage(section: str) -> int:
    """Return the index in STAGES of the first stage that a section of the settings affects."""
    name = "task_level" if section == "judge" else section
    return list(STAGES).index(name) if name in STAGES else len(STAGES) if section == "evaluation" else 0


def first_other_stage(old: Sequence[str], new: Sequence[str]) -> int:
    """Return the index in STAGES of the first stage that one of two lists lacks; len(STAGES) if they are equal."""
    return next((index for index, name in enumerate(STAGES) if (name in old) != (name in new)), len(STAGES))


def in_words(changes: list[tuple[str, int]]) -> str:
    """Return the texts of `differences` as one line."""
    return "; ".join(text for text, _ in changes)


def first_affected(changes: list[tuple[str, int]]) -> int:
    """Return the index in STAGES of the first stage that `differences` affect."""
    return min(stage for _, stage in changes)


def started_stages(run: Run) -> list[str]:
    """Return the stages that have a checkpoint, in order."""
    folders = checkpoint_folders(run)
    return [name for name in STAGES if any(path.name[0].isdigit() for part in folders for path in entries(part / name))]


def has_work(run: Run) -> bool:
    """Return whether a run has more than data, which is fast to make again."""
    return bool(started_stages(run)) or (run.directory / RESULTS).exists()


def in_a_line(value: Any) -> str:
    """Return a value as text of at most 60 characters."""
    return textwrap.shorten(str(value), 60, placeholder="...")


def leaves(values: Any, name: str = "") -> dict[str, Any]:
    """Return nested dicts as one dict: dotted name -> value."""
    if not isinstance(values, dict):
        return {name: values}
    parts = (leaves(value, f"{name}.{key}".removeprefix(".")) for key, value in values.items())
    return {path: leaf for part in parts for path, leaf in part.items()}


def contents(run: Run, stage: int) -> str:
    """Return a text that names what `discard` would remove."""
    folders = checkpoint_folders(run)
    removed = [name for name in list(STAGES)[stage:] if any((folder / name).is_dir() for folder in folders)]
    if not removed:
        return "the results" if stage else "its data and results"
    return f"the checkpoints of {', '.join(removed)}, {'' if stage else 'all data, '}and their results"


def discard(run: Run, stage: int) -> None:
    """Remove the work of the stages from this index in STAGES on; 0: everything."""
    directory, removed = run.directory, list(STAGES)[stage:]
    for folder in checkpoint_folders(run):
        for name in removed:
            (folder / name).rmtree(missing_ok=True)
    titles = [STAGES[name] for name in removed] if stage < len(STAGES) else ["base", *STAGES.values()]
    paths = [directory / name for name in ((POLICY, *EVERYTHING) if stage == 0 else (POLICY,))]
    paths += [directory / folder / name for folder in (CURVES, TRAJECTORIES) for name in removed]
    paths += [path for name in removed for path in (directory / EXPORTED).glob(f"{name}-*")]
    paths += [directory / TRAJECTORIES / evaluation_name(title) for title in titles]
    paths += [folder for path in paths if path.parent.name == TRAJECTORIES for folder in all_folders(path)[1:]]
    paths += [directory / ANNOTATIONS["action_level.annotations"]] if stage == 1 else []
    paths += [directory / left_out_name(field) for field in ANNOTATIONS] if stage == 0 else []
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for file, names in ((METRICS, removed), (RESULTS, titles)):
        keep_objects(directory / file, lambda row, names=names: row.get("stage") not in names)


def left_out_name(field: str) -> str:
    """Return the file name of the list of annotations that were left out; `field`: a key of ANNOTATIONS."""
    return f"{ANNOTATIONS[field]}-left-out.txt"


def all_folders(path: Path) -> list[Path]:
    """Return a folder of trajectories, and those of other hosts beside it, such as task_level-host-1."""
    return [path, *sorted(path.parent.glob(f"{path.name}-host-*"))]


def left_folders(path: Path, hosts: int) -> list[Path]:
    """Return those of `all_folders` that belong to none of the `hosts` hosts that a run has now."""
    return [folder for folder in all_folders(path)[1:] if int(folder.name.rpartition("-")[2]) >= hosts]


def evaluation_name(title: str) -> str:
    """Return the folder name of an evaluation's trajectories. title: of a stage, or the path of a policy."""
    return f"evaluation-{file_name(title)}"


def file_name(title: str) -> str:
    """Return a title or a path as one file name, without the parts that would lead to another folder."""
    return "-".join(part for part in re.split(r"[\s/]+", title) if part not in ("", ".", ".."))
