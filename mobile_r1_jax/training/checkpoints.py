"""Checkpoints of a training run, by Orbax: the whole state, and the position in the data as JSON.

They lie in a local folder or in a bucket (checkpoint_storage.py). A checkpoint counts only when it is complete, so a
killed process keeps its finished checkpoints. Arrays are stored whole, under their names in the state
("trained.text.embedding"): a run may resume on another mesh. Large stacked parameters have one chunk per layer, so that
one layer can be read alone. If a run trains adapters, its frozen weights are not stored: they are those of the policy
that the run started from, and a resumed run loads them again.

Every finished checkpoint holds the checksums of its files. A damaged checkpoint is skipped, and the newest intact one
is used.
"""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from etils import epath
from jax.experimental import multihost_utils

from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.training.checkpoint_storage import (
    COMMITTED,
    as_folder,
    drafts,
    in_bucket,
    steps_in,
    store_spec,
)
from mobile_r1_jax.training.checksums import find_damage, write_checksums
from mobile_r1_jax.training.state import NonFiniteError, TrainState, is_finite

T = TypeVar("T")
LOG = logging.getLogger(__name__)
ORBAX_LOG = logging.getLogger("absl")
WRITTEN_LATER = frozenset({"_CHECKPOINT_METADATA", COMMITTED})  # by Orbax; a restore does not need them
LONGEST_REASON = 160  # characters
OS_ERROR = re.compile(r": ([^:\[]+) \[os_error_code=")  # finds "No space left on device" in tensorstore's errors
STATE, POSITION = "state", "position"
FROZEN = "frozen."
PARAMETERS = ("trained.", FROZEN)  # prefixes of the names of the policy's parameters
WHOLE = 16 * 2**20  # bytes: a parameter up to this size is one chunk
CHUNK = 512 * 2**20  # bytes: largest chunk of a parameter


class CheckpointError(OneLineError):
    """A checkpoint cannot be written, or none can be restored."""


class NoCheckpointError(CheckpointError):
    """There is no checkpoint yet."""


@contextmanager
def open_checkpoints(
    directory: os.PathLike[str], *, keep: int = 2, keep_every: int | None = None
) -> Iterator[ocp.CheckpointManager]:
    """Open (or create) a directory of checkpoints for writing. Keep the last `keep` of them, and those whose number of
    updates is a multiple of `keep_every`.

    Leaving the context waits until everything is written. Raises CheckpointError if that fails.
    """
    directory = as_folder(directory)
    with_checksums = ocp.options.AsyncOptions(post_finalization_callback=lambda: _write_draft_checksums(directory))
    _silence_tracebacks()
    kept = {"max_to_keep": keep, "keep_period": keep_every}
    manager = _manager(directory, **kept, create=True, cleanup_tmp_directories=True, async_options=with_checksums)
    try:
        yield manager
    except BaseException:
        with suppress(Exception):  # the caller gets the error that ended the context
            manager.close()
        raise
    with _write_errors(directory):
        manager.close()


def save(checkpoints: ocp.CheckpointManager, state: TrainState, step: int, position: Mapping[str, Any]) -> None:
    """Save the state after update number `step`, and the position of the run as JSON.

    It returns when the arrays are copied to the host, so the state may be donated. Threads then write the files;
    `finish(checkpoints)` waits for them.

    Raises:
      NonFiniteError: a trained parameter or the optimizer state is not finite; nothing is saved.
      CheckpointError: this checkpoint or the previous one could not be written, for example because the disk is full.
        The finished checkpoints stay, and the unfinished one is removed.
    """
    arrays = _stored_arrays(state)
    if not is_finite((state.trained, state.optimizer)):
        bad = [name for name, array in arrays.items() if not name.startswith((FROZEN, "key")) and not is_finite(array)]
        raise NonFiniteError(
            f"update {step} is not saved: {bad[0]} and {len(bad) - 1} other arrays are not finite; the checkpoints in "
            f"{checkpoints.directory} stay; lower the learning rate, and start the run again"
        )
    chunks = {name: _chunks(name, array) for name, array in arrays.items()}
    arguments = ocp.args.Composite(
        **{STATE: ocp.args.StandardSave(arrays, save_args=chunks), POSITION: ocp.args.JsonSave(dict(position))}
    )
    with _write_errors(checkpoints.directory):
        checkpoints.save(step, args=arguments, force=True)


def finish(checkpoints: ocp.CheckpointManager) -> None:
    """Wait until the last checkpoint is written. Raises CheckpointError as `save`."""
    with _write_errors(checkpoints.directory):
        checkpoints.wait_until_finished()


def restore(
    checkpoints: ocp.CheckpointManager, state: TrainState, step: int | None = None
) -> tuple[TrainState, int, dict[str, Any]]:
    """Restore the newest intact checkpoint, or that of `step`. Every array gets the sharding that it has in `state`.

    A damaged checkpoint is logged in one line and renamed to damaged-STEP, so that its step can be saved again.

    Returns:
      state, its number of updates, position.

    Raises:
      CheckpointError: there is no checkpoint, none is intact, or its arrays do not match `state`.
    """
    directory, steps = checkpoints.directory, checkpoints.all_steps()
    if not steps:
        raise NoCheckpointError(f"no finished checkpoint in {directory}; start this run without resuming")
    if step is not None and step not in steps:
        found = ", ".join(map(str, steps))
        raise CheckpointError(f"no checkpoint of step {step} in {directory}; there are: {found}")
    wanted = _stored_arrays(state)

    def read(step: int) -> Mapping[str, Any]:
        stored = {name: array.shape for name, array in _metadata(checkpoints, step).items()}
        if problem := _difference(stored, wanted):
            raise CheckpointError(
                f"checkpoint {step} in {directory} is of another policy or optimizer: {problem}; "
                "resume with the config that it was made with"
            )
        target = {name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding) for name, a in wanted.items()}
        arguments = {STATE: ocp.args.StandardRestore(target), POSITION: ocp.args.JsonRestore()}
        return checkpoints.restore(step, args=ocp.args.Composite(**arguments))

    found, items, damaged = _newest_intact(directory, steps if step is None else [step], read)
    if damaged:
        if jax.process_index() == 0:
            with _read_errors(directory):
                for other in damaged:
                    (aside := directory / f"damaged-{other}").rmtree(missing_ok=True)
                    (directory / str(other)).rename(aside)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoints are renamed")
        checkpoints.reload()
    return _state_from(items[STATE], state), found, items[POSITION]


def stored_parameters(directory: os.PathLike[str]) -> tuple[int, dict[str, tensorstore.TensorStore]]:
    """Return the policy's parameters in the newest intact checkpoint of a directory. They are read when sliced.

    The directory is not changed, since a run may be writing to it. A damaged checkpoint is logged in one line.

    Returns:
      number of updates; path in the policy, such as "text.layers.q.kernel" -> the array.

    Raises:
      NoCheckpointError: there is no checkpoint; CheckpointError: none is intact.
    """
    directory = as_folder(directory)
    ORBAX_LOG.addFilter(_is_not_about_reading)
    options = {"read_only": True, "create": False, "save_interval_steps": 0}
    with _manager(directory, **options) if directory.is_dir() else nullcontext() as checkpoints:
        steps = checkpoints.all_steps() if checkpoints else ()
        if not steps:
            raise NoCheckpointError(f"no finished checkpoint in {directory}")

        def read(step: int) -> dict[str, tensorstore.TensorStore]:
            names = [name for name in _metadata(checkpoints, step) if name.startswith(PARAMETERS)]
            # Orbax writes zarr arrays in an OCDBT database.
            specs = (
                {"driver": "zarr", "kvstore": _database(directory / str(step)) | {"path": f"{name}/"}} for name in names
            )
            opened = [tensorstore.open(spec, open=True, read=True) for spec in specs]
            return {name.split(".", 1)[1]: array.result() for name, array in zip(names, opened, strict=True)}

        return _newest_intact(directory, steps, read)[:2]


def _manager(directory: epath.Path, **options: Any) -> ocp.CheckpointManager:
    # Without named handlers, a manager that has saved nothing cannot read the checkpoints of another one.
    handlers = {STATE: ocp.StandardCheckpointHandler(), POSITION: ocp.JsonCheckpointHandler()}
    with _read_errors(directory):
        options = ocp.CheckpointManagerOptions(**options)
        return ocp.CheckpointManager(directory, options=options, item_handlers=handlers)


def _silence_tracebacks() -> None:
    """Keep Orbax from printing tracebacks in this process. The caller gets its errors as exceptions.

    Orbax also logs each error. When the disk is full, tensorstore adds an uncatchable exception for every array whose
    write is no longer awaited, and asyncio logs every array whose write failed after the first failure.
    """
    ORBAX_LOG.addFilter(_is_no_traceback)
    logging.getLogger("asyncio").addFilter(_is_no_orbax_task)
    if getattr(sys.unraisablehook, "func", None) is not _print_uncaught:
        sys.unraisablehook = partial(_print_uncaught, sys.unraisablehook)


def _print_uncaught(hook: Callable[[Any], object], uncaught: Any) -> None:
    if str(uncaught.exc_value) != "Event loop is closed":
        hook(uncaught)


def _is_no_traceback(record: logging.LogRecord) -> bool:
    return not (record.exc_info and "orbax" in record.pathname)


def _is_no_orbax_task(record: logging.LogRecord) -> bool:
    """Return False for a message about a task of Orbax, such as a failed one whose result nobody reads."""
    return "orbax" not in record.getMessage()


def _is_not_about_reading(record: logging.LogRecord) -> bool:
    """Return False for Orbax's warning that a directory is opened for reading only."""
    return "is read only" not in str(record.msg)


def _write_draft_checksums(directory: epath.Path) -> None:
    """Write checksums into the draft before Orbax renames it, so that every finished checkpoint has them."""
    if jax.process_index() == 0:
        for draft in drafts(directory):
            write_checksums(draft, leave_out=WRITTEN_LATER)


@contextmanager
def _write_errors(directory: epath.Path) -> Iterator[None]:
    """Raise errors of Orbax and its threads as CheckpointError, and remove the unfinished checkpoint."""
    try:
        yield
    except Exception as error:
        try:
            finished = steps_in(directory)
            for draft in drafts(directory):
                draft.rmtree(missing_ok=True)
            last = f"checkpoint {finished[-1]} is the last one there" if finished else "there is none yet"
        except Exception:  # a bucket that does not answer; the caller gets the first error
            last = "the finished ones stay"
        raise CheckpointError(f"a checkpoint cannot be written to {directory}: {_reason(error)}; {last}") from error


@contextmanager
def _read_errors(directory: epath.Path) -> Iterator[None]:
    """Raise the errors of a bucket that does not answer as CheckpointError. They say nothing about its files."""
    try:
        yield
    except (CheckpointError, MemoryError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:
        if not in_bucket(directory):
            raise
        raise CheckpointError(f"{directory} does not answer: {_reason(error)}; start again when it does") from error


def _reason(error: BaseException) -> str:
    """Return the operating system's message, if there is one, such as for a full disk; else a shortened message."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return f"{cause.strerror} ({cause.filename})" if cause.filename else cause.strerror
        if found := OS_ERROR.search(str(cause)):
            return found[1]
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST_REASON]


def _newest_intact(
    directory: epath.Path, steps: Sequence[int], read: Callable[[int], T]
) -> tuple[int, T, dict[int, str]]:
    """Return the newest intact step, the result of `read` for it, and the problem of each newer step.

    It logs a line for each damaged checkpoint. Raises CheckpointError if none is intact.
    """
    damaged: dict[int, str] = {}
    for step in sorted(steps, reverse=True):
        with _read_errors(directory):
            problem = _find_damage(directory / str(step))
        if not problem:
            try:
                with _read_errors(directory):
                    result = read(step)
            except (CheckpointError, MemoryError, jax.errors.JaxRuntimeError):  # not an error of the files
                raise
            except Exception as error:  # Orbax has no narrower class for unreadable files
                problem = _reason(error)
            else:
                for other, problem in damaged.items():
                    LOG.warning(
                        "checkpoint %d in %s is damaged: %s; taking checkpoint %d", other, directory, problem, step
                    )
                return step, result, damaged
        damaged[step] = problem
    each = "; ".join(f"checkpoint {step}: {problem}" for step, problem in damaged.items())
    raise CheckpointError(f"no intact checkpoint in {directory} ({each}); to do this stage again, remove the directory")


def _find_damage(folder: epath.Path) -> str | None:
    """Return the problem of a checkpoint's files, in words; None if they are intact. All processes get a result."""
    problem = None
    if jax.process_index() == 0:
        try:
            problem = find_damage(folder)
        except FileNotFoundError:
            LOG.warning("%s has no checksums: an earlier version wrote it; changed bits cannot be detected", folder)
            problem = _unreadable(folder)
    if jax.process_count() > 1 and multihost_utils.broadcast_one_to_all(np.asarray(problem is not None)):
        return problem or "process 0 found it damaged"
    return problem


def _unreadable(folder: epath.Path) -> str | None:
    """Read all arrays of a checkpoint without checksums. Return the problem, in words; None if they are readable."""
    try:
        database = tensorstore.KvStore.open(_database(folder)).result()
        for name in database.list().result():
            database.read(name).result()
    except ValueError as error:
        return _reason(error)
    return None


def _database(folder: epath.Path) -> dict[str, Any]:
    """Return tensorstore's spec of the OCDBT database that holds a checkpoint's arrays."""
    return {"driver": "ocdbt", "base": store_spec(folder / STATE)}


def _metadata(checkpoints: ocp.CheckpointManager, step: int) -> Mapping[str, Any]:
    """Return name -> metadata of every stored array. Raises ValueError if they are missing."""
    metadata = checkpoints.item_metadata(step).get(STATE)
    if metadata is None:
        raise ValueError(f"the metadata of {STATE} is missing")
    return metadata.tree


def _chunks(name: str, array: jax.Array) -> ocp.SaveArgs:
    """Return the chunking of a stored array, in addition to its sharding."""
    if not name.startswith(PARAMETERS) or array.nbytes <= WHOLE:
        return ocp.SaveArgs()
    return ocp.SaveArgs(chunk_byte_size=CHUNK, shard_axes=(0,) if ".layers." in name else ())


def _stored_arrays(state: TrainState) -> dict[str, jax.Array]:
    """Return name -> array of everything that is stored. The PRNG key is stored as raw uint32 words."""
    leaves = {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
    if state.trains_adapters:
        leaves = {name: leaf for name, leaf in leaves.items() if not name.startswith(FROZEN)}
    return {name: jax.random.key_data(leaf) if _is_key(leaf) else leaf for name, leaf in leaves.items()}


def _state_from(arrays: Mapping[str, jax.Array], like: TrainState) -> TrainState:
    def find(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        array = arrays.get(_name(path), leaf)
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else array

    return jax.tree_util.tree_map_with_path(find, like)


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")


def _is_key(array: jax.Array) -> bool:
    return jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)


def _difference(stored: Mapping[str, tuple[int, ...]], wanted: Mapping[str, jax.Array]) -> str | None:
    """Return the first difference that prevents restoring, in words; None if there is none."""
    for name, array in wanted.items():
        if name not in stored:
            return f"{name} is not in it"
        if tuple(stored[name]) != array.shape:
            return f"{name} is {list(stored[name])} in it but {list(array.shape)} in this run"
    if extra := stored.keys() - wanted.keys():
        return f"{min(extra)} is in it but not in this run"
    return None
