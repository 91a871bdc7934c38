"""Checkpoints of a training run, by Orbax: the whole state, and the place in the data as JSON beside it.

Orbax writes into a temporary folder and renames it when everything is there, so a process killed at any point leaves
the checkpoints that it had. Arrays are stored under their names in the state ("trained.text.embedding"), whole: a run
may go on with another mesh than it began with. Large parameters of many layers are stored a layer a chunk, so that one
layer can be read alone. Of a state of adapters the frozen weights are not stored: they are those of the policy that the
run began with, and it begins with them again.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
import tensorstore

from mobile_r1_jax.training.state import TrainState

STATE, POSITION = "state", "position"
FROZEN = "frozen."
PARAMETERS = ("trained.", FROZEN)  # what the names of the policy's parameters begin with
WHOLE = 16 * 2**20  # bytes: a parameter up to this is one chunk
CHUNK = 512 * 2**20  # bytes: no chunk of a parameter is larger


class CheckpointError(ValueError):
    """Nothing to restore, or nothing that fits; the message is one line for the person who started the run."""


def open_checkpoints(directory: Path, *, keep: int = 2) -> ocp.CheckpointManager:
    """Opens (or makes) a directory of checkpoints of which the last `keep` stay; a context manager."""
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
    # Handlers by name: without them a manager that has saved nothing yet could not read what another one wrote.
    handlers = {STATE: ocp.StandardCheckpointHandler(), POSITION: ocp.JsonCheckpointHandler()}
    return ocp.CheckpointManager(Path(directory).absolute(), options=options, item_handlers=handlers)


def save(checkpoints: ocp.CheckpointManager, state: TrainState, step: int, position: Mapping[str, Any]) -> None:
    """Saves the state after update number `step`, and whatever JSON says where the run is.

    Returns when the arrays are copied to the host, and writes on from there: the state may be donated right after.
    `checkpoints.wait_until_finished()` waits for the file.
    """
    arrays = _named(state)
    chunks = {name: _chunks(name, array) for name, array in arrays.items()}
    arguments = ocp.args.Composite(
        **{STATE: ocp.args.StandardSave(arrays, save_args=chunks), POSITION: ocp.args.JsonSave(dict(position))}
    )
    checkpoints.save(step, args=arguments, force=True)


def restore(
    checkpoints: ocp.CheckpointManager, state: TrainState, step: int | None = None
) -> tuple[TrainState, int, dict[str, Any]]:
    """The latest checkpoint (or that of `step`), with every array placed as its counterpart in `state` is.

    Returns:
      state, number of updates that it has seen, position.

    Raises:
      CheckpointError: there is none, or its arrays are not those of `state`.
    """
    found = checkpoints.latest_step() if step is None else step
    if found is None:
        raise CheckpointError(f"no finished checkpoint in {checkpoints.directory}; start this run without resuming")
    if found not in checkpoints.all_steps():
        there = ", ".join(map(str, checkpoints.all_steps())) or "none"
        raise CheckpointError(f"no checkpoint of step {found} in {checkpoints.directory}; there are: {there}")
    wanted = _named(state)
    stored = checkpoints.item_metadata(found)[STATE].tree
    if problem := _difference({name: array.shape for name, array in stored.items()}, wanted):
        raise CheckpointError(
            f"checkpoint {found} in {checkpoints.directory} is of another policy or optimizer: {problem}; "
            "resume with the config that it was made with"
        )
    target = {name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding) for name, a in wanted.items()}
    items = checkpoints.restore(
        found,
        args=ocp.args.Composite(**{STATE: ocp.args.StandardRestore(target), POSITION: ocp.args.JsonRestore()}),
    )
    return _unnamed(items[STATE], state), found, items[POSITION]


def stored_parameters(directory: Path) -> tuple[int, dict[str, tensorstore.TensorStore]]:
    """The policy's parameters in the latest checkpoint of a directory, not read before they are sliced.

    Returns:
      number of updates that they have seen; path in the policy, such as "text.layers.q.kernel" -> the array.

    Raises:
      CheckpointError: there is no checkpoint.
    """
    with open_checkpoints(directory) if directory.is_dir() else nullcontext() as checkpoints:
        step = checkpoints and checkpoints.latest_step()
        if step is None:
            raise CheckpointError(f"no finished checkpoint in {directory}")
        names = list(checkpoints.item_metadata(step)[STATE].tree)
        base = {"driver": "file", "path": f"{Path(checkpoints.directory) / str(step) / STATE}/"}
    found = {}
    for name in names:
        if name.startswith(PARAMETERS):
            # As Orbax wrote it: zarr arrays in an OCDBT database.
            spec = {"driver": "zarr", "kvstore": {"driver": "ocdbt", "base": base, "path": f"{name}/"}}
            found[name.split(".", 1)[1]] = tensorstore.open(spec, open=True, read=True).result()
    return step, found


def _chunks(name: str, array: jax.Array) -> ocp.SaveArgs:
    """How an array is cut where it is stored, on top of how it is sharded."""
    if not name.startswith(PARAMETERS) or array.nbytes <= WHOLE:
        return ocp.SaveArgs()
    return ocp.SaveArgs(chunk_byte_size=CHUNK, shard_axes=(0,) if ".layers." in name else ())


def _named(state: TrainState) -> dict[str, jax.Array]:
    """Every array that is stored, under its name; the random key as its raw uint32 words, for any version to read."""
    leaves = {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
    if state.of_adapters:
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
