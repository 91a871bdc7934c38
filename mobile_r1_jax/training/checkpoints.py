"""Checkpoints of a training run, by Orbax: the whole state, and the place in the data as JSON beside it.

Orbax writes into a temporary folder and renames it when everything is there, so a process killed at any point leaves
the checkpoints that it had. Arrays are stored under their names in the state ("trained.text.embedding"), whole: a run
may go on with another mesh than it began with. Large parameters of many layers are stored a layer a chunk, so that one
layer can be read alone. Of a state of adapters the frozen weights are not stored: they are those of the policy that the
run began with, and it begins with them again.

A checkpoint holds the checksums of its files from the moment it is there. What they say is damaged is passed over for
the newest one that is intact.
"""

import logging
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from jax.experimental import multihost_utils

from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.training.checksums import find_damage, write_checksums
from mobile_r1_jax.training.state import NonFiniteError, TrainState, is_finite

T = TypeVar("T")
LOG = logging.getLogger(__name__)
ORBAX_LOG = logging.getLogger("absl")
DRAFT = ".orbax-checkpoint-tmp"  # in the name of a checkpoint that is being written
WRITTEN_LATER = frozenset({"_CHECKPOINT_METADATA", "commit_success.txt"})  # by Orbax, and not needed to restore
LONGEST_REASON = 160  # characters
OF_THE_SYSTEM = re.compile(r": ([^:\[]+) \[os_error_code=")  # in tensorstore's errors: "No space left on device"
STATE, POSITION = "state", "position"
FROZEN = "frozen."
PARAMETERS = ("trained.", FROZEN)  # what the names of the policy's parameters begin with
WHOLE = 16 * 2**20  # bytes: a parameter up to this is one chunk
CHUNK = 512 * 2**20  # bytes: no chunk of a parameter is larger


class CheckpointError(OneLineError):
    """A checkpoint that cannot be written, or none that can be restored."""


class NoCheckpointError(CheckpointError):
    """No checkpoint is there yet."""


@contextmanager
def open_checkpoints(directory: Path, *, keep: int = 2) -> Iterator[ocp.CheckpointManager]:
    """Open (or make) a directory of checkpoints of which the last `keep` stay; the one process that writes to it.

    Leaving the context waits until everything is written. Raises CheckpointError where that fails.
    """
    directory = Path(directory).absolute()
    sealing = ocp.options.AsyncOptions(post_finalization_callback=lambda: _seal(directory))
    _silence_tracebacks()
    manager = _manager(directory, max_to_keep=keep, create=True, cleanup_tmp_directories=True, async_options=sealing)
    try:
        yield manager
    except BaseException:
        with suppress(Exception):  # what ended the context is what the caller gets
            manager.close()
        raise
    with _writing(directory):
        manager.close()


def save(checkpoints: ocp.CheckpointManager, state: TrainState, step: int, position: Mapping[str, Any]) -> None:
    """Save the state after update number `step`, and whatever JSON says where the run is.

    Returns when the arrays are copied to the host, and writes on from there: the state may be donated right after.
    `finish(checkpoints)` waits for the files.

    Raises:
      NonFiniteError: a trained parameter or the optimizer state is not finite; nothing is saved.
      CheckpointError: this checkpoint or the one before could not be written, such as for a full disk. The finished
        checkpoints stay, and the unfinished one is removed.
    """
    arrays = _named(state)
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
    with _writing(Path(checkpoints.directory)):
        checkpoints.save(step, args=arguments, force=True)


def finish(checkpoints: ocp.CheckpointManager) -> None:
    """Wait until the last checkpoint is written. Raises CheckpointError where it could not be, as `save`."""
    with _writing(Path(checkpoints.directory)):
        checkpoints.wait_until_finished()


def restore(
    checkpoints: ocp.CheckpointManager, state: TrainState, step: int | None = None
) -> tuple[TrainState, int, dict[str, Any]]:
    """Restore the newest intact checkpoint (or that of `step`); every array is placed as its counterpart in `state`.

    A damaged one is reported in one line and renamed to damaged-STEP, so that its step can be saved again.

    Returns:
      state, number of updates that it has seen, position.

    Raises:
      CheckpointError: there is none, none is intact, or its arrays are not those of `state`.
    """
    directory, steps = Path(checkpoints.directory), checkpoints.all_steps()
    if not steps:
        raise NoCheckpointError(f"no finished checkpoint in {directory}; start this run without resuming")
    if step is not None and step not in steps:
        there = ", ".join(map(str, steps))
        raise CheckpointError(f"no checkpoint of step {step} in {directory}; there are: {there}")
    wanted = _named(state)

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
            for other in damaged:
                shutil.rmtree(aside := directory / f"damaged-{other}", ignore_errors=True)
                (directory / str(other)).rename(aside)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoints are renamed")
        checkpoints.reload()
    return _unnamed(items[STATE], state), found, items[POSITION]


def stored_parameters(directory: Path) -> tuple[int, dict[str, tensorstore.TensorStore]]:
    """The policy's parameters in the newest intact checkpoint of a directory, not read before they are sliced.

    Nothing is changed there: a run may be writing to it. A damaged checkpoint is reported in one line.

    Returns:
      number of updates that they have seen; path in the policy, such as "text.layers.q.kernel" -> the array.

    Raises:
      NoCheckpointError: there is no checkpoint; CheckpointError: none is intact.
    """
    directory = directory.absolute()
    with _manager(directory, read_only=True) if directory.is_dir() else nullcontext() as checkpoints:
        steps = checkpoints.all_steps() if checkpoints else ()
        if not steps:
            raise NoCheckpointError(f"no finished checkpoint in {directory}")

        def read(step: int) -> dict[str, tensorstore.TensorStore]:
            names = [name for name in _metadata(checkpoints, step) if name.startswith(PARAMETERS)]
            # As Orbax wrote it: zarr arrays in an OCDBT database.
            specs = (
                {"driver": "zarr", "kvstore": _database(directory / str(step)) | {"path": f"{name}/"}} for name in names
            )
            opened = [tensorstore.open(spec, open=True, read=True) for spec in specs]
            return {name.split(".", 1)[1]: array.result() for name, array in zip(names, opened, strict=True)}

        return _newest_intact(directory, steps, read)[:2]


def _manager(directory: Path, **options: Any) -> ocp.CheckpointManager:
    # Handlers by name: without them a manager that has saved nothing yet could not read what another one wrote.
    handlers = {STATE: ocp.StandardCheckpointHandler(), POSITION: ocp.JsonCheckpointHandler()}
    return ocp.CheckpointManager(directory, options=ocp.CheckpointManagerOptions(**options), item_handlers=handlers)


def _silence_tracebacks() -> None:
    """Keep Orbax from printing tracebacks, from now on: its errors reach the caller as exceptions.

    It logs each error first. When the disk is full, tensorstore also has an exception, which nothing can catch, for
    every array whose write is no longer waited for.
    """
    ORBAX_LOG.addFilter(_is_no_traceback)
    if getattr(sys.unraisablehook, "func", None) is not _print_uncaught:
        sys.unraisablehook = partial(_print_uncaught, sys.unraisablehook)


def _print_uncaught(hook: Callable[[Any], object], uncaught: Any) -> None:
    if str(uncaught.exc_value) != "Event loop is closed":
        hook(uncaught)


def _is_no_traceback(record: logging.LogRecord) -> bool:
    return not (record.exc_info and "orbax" in record.pathname)


def _seal(directory: Path) -> None:
    """Write checksums into the checkpoint that is about to be renamed: a finished one has them, whatever is killed."""
    if jax.process_index() == 0:
        for draft in directory.glob(f"*{DRAFT}*"):
            write_checksums(draft, leave_out=WRITTEN_LATER)


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Raise what goes wrong in Orbax or its threads as CheckpointError, and remove the unfinished checkpoint."""
    try:
        yield
    except Exception as error:
        for draft in directory.glob(f"*{DRAFT}*"):
            shutil.rmtree(draft, ignore_errors=True)
        finished = sorted(int(path.name) for path in directory.glob("*") if path.name.isdecimal())
        last = f"checkpoint {finished[-1]} is the last one there" if finished else "there is none yet"
        raise CheckpointError(f"a checkpoint cannot be written to {directory}: {_reason(error)}; {last}") from error


def _reason(error: BaseException) -> str:
    """The system's own word for it where there is one, such as for a full disk; else what was said, cut short."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return f"{cause.strerror} ({cause.filename})" if cause.filename else cause.strerror
        if found := OF_THE_SYSTEM.search(str(cause)):
            return found[1]
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST_REASON]


def _newest_intact(directory: Path, steps: Sequence[int], read: Callable[[int], T]) -> tuple[int, T, dict[int, str]]:
    """Return the newest step that is intact, what `read` gives for it, and what is wrong with the newer ones.

    Logs a line for each damaged one. Raises CheckpointError where none is intact.
    """
    damaged: dict[int, str] = {}
    for step in sorted(steps, reverse=True):
        if not (problem := _damage(directory / str(step))):
            try:
                result = read(step)
            except (CheckpointError, MemoryError, jax.errors.JaxRuntimeError):  # no fault of the files
                raise
            except Exception as error:  # Orbax has no narrower class for what it cannot read
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


def _damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint's files, in words; None where they are intact. All processes get an answer."""
    problem = None
    if jax.process_index() == 0:
        try:
            problem = find_damage(folder)
        except FileNotFoundError:
            LOG.warning("%s has no checksums, as an earlier version wrote it: flipped bits would go unnoticed", folder)
            problem = _unreadable(folder)
    if jax.process_count() > 1 and multihost_utils.broadcast_one_to_all(np.asarray(problem is not None)):
        return problem or "process 0 found it damaged"
    return problem


def _unreadable(folder: Path) -> str | None:
    """Read all that a checkpoint without checksums stores; None where everything is there."""
    try:
        database = tensorstore.KvStore.open(_database(folder)).result()
        for key in database.list().result():
            database.read(key).result()
    except ValueError as error:
        return _reason(error)
    return None


def _database(folder: Path) -> dict[str, Any]:
    """Where Orbax keeps a checkpoint's arrays: an OCDBT database, as tensorstore opens it."""
    return {"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder / STATE}/"}}


def _metadata(checkpoints: ocp.CheckpointManager, step: int) -> Mapping[str, Any]:
    """Name of every stored array -> its metadata. Raises ValueError where they are not there."""
    metadata = checkpoints.item_metadata(step).get(STATE)
    if metadata is None:
        raise ValueError(f"the metadata of {STATE} is missing")
    return metadata.tree


def _chunks(name: str, array: jax.Array) -> ocp.SaveArgs:
    """How an array is cut where it is stored, on top of how it is sharded."""
    if not name.startswith(PARAMETERS) or array.nbytes <= WHOLE:
        return ocp.SaveArgs()
    return ocp.SaveArgs(chunk_byte_size=CHUNK, shard_axes=(0,) if ".layers." in name else ())


def _named(state: TrainState) -> dict[str, jax.Array]:
    """Every array that is stored, under its name; the random key as its raw uint32 words, for any version to read."""
    leaves = {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
    if state.trains_adapters:
        leaves = {name: leaf for name, leaf in leaves.items() if not name.startswith(FROZEN)}
    return {name: jax.random.key_data(leaf) if _is_key(leaf) else leaf for name, leaf in leaves.items()}


def _unnamed(arrays: Mapping[str, jax.Array], like: TrainState) -> TrainState:
    def find(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        array = arrays.get(_name(path), leaf)
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else array

    return jax.tree_util.tree_map_with_path(find, like)


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")


def _is_key(array: jax.Array) -> bool:
    return jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)


def _difference(stored: Mapping[str, tuple[int, ...]], wanted: Mapping[str, jax.Array]) -> str | None:
    """What is first in the way of restoring, in words; None when nothing is."""
    for name, array in wanted.items():
        if name not in stored:
            return f"{name} is not in it"
        if tuple(stored[name]) != array.shape:
            return f"{name} is {list(stored[name])} in it but {list(array.shape)} in this run"
    if extra := stored.keys() - wanted.keys():
        return f"{min(extra)} is in it but not in this run"
    return None
