"""Which split an episode belongs to: by the data set's own files, by its instruction, or by its app."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection
from pathlib import Path

from data_pipelines.sources.drafts import Draft, Source, read_names
from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.agent.json_fields import BrokenError

TRAIN, TEST = "train", "test"
_NAME = re.compile(r"\w+")  # it becomes a folder


def make_split(
    source: Source, path: Path, how: str, *, test_share: float, test_apps: Collection[str]
) -> Callable[[Draft], str]:
    """Return the function from an episode to the name of its split; it raises BrokenError if an episode has none.

    Args:
      how: "none" (all is train), "instruction", "app", "own" (the data set's first split file, else its folders, else
        all is train) or "own:NAME" (the split file of this name).
      test_share: share of the instructions or apps that are test; chosen by their hashes, so a share keeps its members
        while the data grows.
      test_apps: the apps that are test, instead of a share.

    With "app", a trajectory is test if one of its apps is, so train has no test app. Raise OneLineError for an unknown
    `how`, and for a split file that is missing or broken.
    """
    if how == "none":
        return lambda draft: TRAIN
    if how == "instruction":
        return lambda draft: _by_share([normalise(draft.task)], test_share)
    if how == "app":
        return lambda draft: _by_app(draft, test_share, test_apps)
    own, _, name = how.partition(":")
    if own != "own":
        raise OneLineError(f"--split is {how!r}; it must be own, own:NAME, instruction, app or none")
    files = source.split_files(path)
    if name and name not in files:
        found = ", ".join(files) or "none"
        raise OneLineError(f"--split=own:{name}: {path} has no such split file; it has: {found}")
    if not files:
        return lambda draft: draft.split or TRAIN
    file = files[name] if name else next(iter(files.values()))
    names = read_names(file)
    if wrong := [part for parts in names.values() for part in parts if not _NAME.fullmatch(part)]:
        raise OneLineError(f"{file}: {wrong[0]!r} is not a name of a split; use letters, digits and _")
    return lambda draft: _by_file(draft, names.get(draft.name, ()), file.name)


def normalise(instruction: str) -> str:
    """Return an instruction in the form for comparison: without case, spaces and a final stop."""
    return " ".join(instruction.casefold().split()).rstrip(".。!！")


def _by_share(names: Collection[str], share: float) -> str:
    digests = (hashlib.sha256(name.encode()).digest() for name in names)
    return TEST if any(int.from_bytes(digest[:8]) / 2**64 < share for digest in digests) else TRAIN


def _by_app(draft: Draft, share: float, test_apps: Collection[str]) -> str:
    apps = [app for app in draft.app.split(", ") if app]
    if not apps:
        raise BrokenError("its app is not known, so that it cannot be split by app")
    return (TRAIN if set(apps).isdisjoint(test_apps) else TEST) if test_apps else _by_share(apps, share)


def _by_file(draft: Draft, splits: tuple[str, ...], file: str) -> str:
    if len(splits) != 1:
        raise BrokenError(f"{file} has its name, {draft.name}, in {len(splits)} splits; it must be in one")
    return splits[0]
