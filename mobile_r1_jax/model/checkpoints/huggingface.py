"""Qwen2.5-VL weights from and to Hugging Face directories, of any size.

Neither way holds the model on the host. Import puts one stored tensor at a time on the devices that need a part of it
and arranges it there; export fetches one layer's tensor at a time and writes it in blocks.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mobile_r1_jax.model.checkpoints.chat_template import CHAT_TEMPLATE
from mobile_r1_jax.model.checkpoints.model_directory import ModelDirectory, find_model
from mobile_r1_jax.model.checkpoints.safetensors_files import FILE_BYTES, write_tensors
from mobile_r1_jax.model.checkpoints.stored_policy import by_path, open_policy, parameter_shapes
from mobile_r1_jax.model.checkpoints.tensors import Layout, Shape, layout_of, read_view
from mobile_r1_jax.model.config import PolicyConfig, config_to_json
from mobile_r1_jax.model.lora import Read, adapters_of, merge_on_read
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.sharding import parameter_shardings

# A parameter of up to this many bytes is put together on the host, which compiles nothing; a larger one on the devices.
WHOLE = 16 * 2**20
# A tensor is written in blocks of up to this many bytes, as it is held.
BLOCK = 512 * 2**20


def load_policy(
    directory: str | Path,
    dtype: jnp.dtype = jnp.float32,
    *,
    base: str | Path | None = None,
    param_dtype: jnp.dtype | None = None,
    remat: str = "none",
    mesh: Mesh | None = None,
) -> Policy:
    """Load a policy from config.json and one or several safetensors files.

    The host holds one stored tensor at a time, and of it what its own devices need: less than the largest tensor and
    2 GB.

    Args:
      directory: as published on the Hugging Face hub, or as written by `save_policy` or transformers 5; or adapters as
        PEFT writes them, which are merged into the weights of their base.
      dtype: of the computation; param_dtype: of the weights, the same when None.
      base: the model that the adapters in `directory` belong to; None: the one that their adapter_config.json names.
      mesh: place every parameter as sharding.py says; on the default device when None.

    Raises:
      FileNotFoundError: no config.json or no safetensors there.
      ValueError: one line for a broken file, a quantised checkpoint, tensors that don't fit config.json, or a mesh that
        divides badly.
    """
    kinds = {"dtype": dtype, "param_dtype": dtype if param_dtype is None else param_dtype, "remat": remat}
    with ExitStack() as stack:
        config, tensors = open_policy(find_model(directory, base), stack)
        graph, state = nnx.split(nnx.eval_shape(lambda: Policy(config, rngs=nnx.Rngs(0), **kinds)))
        flat = by_path(state)
        shapes = {path: variable.shape for path, variable in flat.items()}
        shardings = {} if mesh is None else parameter_shardings(config, shapes, mesh)
        for path, variable in flat.items():
            layout = layout_of(path, variable.shape, config)
            parts = [tensors[name] for name in layout.names]
            variable.set_value(_place(parts, layout, variable.shape, kinds["param_dtype"], shardings.get(path)))
    return nnx.merge(graph, state)


def policy_config(directory: str | Path, base: str | Path | None = None) -> PolicyConfig:
    """Return the config of the policy that `load_policy` would load; it opens the tensors, and raises as that does."""
    with ExitStack() as stack:
        return open_policy(find_model(directory, base), stack)[0]


@contextmanager
def stored_weights(directory: str | Path, base: str | Path | None = None) -> Iterator[Read]:
    """Reads one layer of one parameter of a model directory at a time, in its own dtype, arranged as held here, for
    `write_model`. `base` and errors are those of `load_policy`."""
    with ExitStack() as stack:
        config, tensors = open_policy(find_model(directory, base), stack)
        layouts = {path: layout_of(path, shape, config) for path, shape in parameter_shapes(config).items()}

        def read(path: str, layer: int | None) -> np.ndarray:
            layout = layouts[path]
            view = read_view(tensors[layout.names[layer or 0]], layout, (slice(None),) * len(layout.view))
            return view.reshape(layout.view).transpose(layout.axes)

        yield read


def save_policy(
    policy: Policy,
    directory: str | Path,
    *,
    dtype: jnp.dtype | None = None,
    like: str | Path | None = None,
    base: str | Path | None = None,
    max_file_bytes: int = FILE_BYTES,
) -> None:
    """Write a policy as `write_model` does, from its devices; weights bit by bit where `dtype` is theirs (or None), but
    for those that adapters are merged into.

    The host holds the small parameters and one layer's tensor at a time. Where several processes share the policy, all
    must call this, and the first one writes.
    """
    state = nnx.state(policy, nnx.Not(nnx.LoRAParam))
    values = {path: variable.get_value() for path, variable in by_path(state).items()}
    whole = {path: _fetch(value) for path, value in values.items() if value.nbytes <= WHOLE}

    def read(path: str, layer: int | None) -> np.ndarray:
        if path in whole:
            return whole[path] if layer is None else whole[path][layer]
        return _fetch(values[path] if layer is None else _layer(values[path], layer))

    write_model(
        directory,
        policy.config,
        {path: value.shape for path, value in values.items()},
        merge_on_read(
            read, {path: (_fetch(a), _fetch(b), scale) for path, (a, b, scale) in adapters_of(policy).items()}
        ),
        dtype=values["text.embedding"].dtype if dtype is None else dtype,
        like=like,
        base=base,
        max_file_bytes=max_file_bytes,
    )


def write_model(
    directory: str | Path,
    config: PolicyConfig,
    shapes: Mapping[str, Shape],
    read: Read,
    *,
    dtype: jnp.dtype,
    like: str | Path | None = None,
    base: str | Path | None = None,
    max_file_bytes: int = FILE_BYTES,
) -> None:
    """Write a model directory that transformers loads, in the layout of the published ones.

    That is the weights in files of up to `max_file_bytes` with their index (one file and no index for a small model),
    config.json, generation_config.json, preprocessor_config.json, and the tokenizer's files from `like`, with a chat
    template.

    Args:
      shapes: path of each parameter, such as "text.layers.q.kernel" -> its shape here.
      read: (path, layer; None where layers aren't stacked) -> that layer's array, or what can be sliced and then
        converted into one.
      dtype: of the written weights.
      like: a model directory that has what stands beside the weights, such as the one that training began with; its
        config.json is kept but for the dtype and whether embeddings are tied. base: as for `load_policy`, if it holds
        adapters.

    Raises:
      ValueError: `like` is of another architecture.
    """
    directory, dtype = Path(directory), np.dtype(dtype)
    directory.mkdir(parents=True, exist_ok=True)
    layouts = {path: layout_of(path, shape, config) for path, shape in shapes.items()}
    source = None if like is None else find_model(like, base)
    values = config_to_json(config, dtype.name) if source is None else _config_like(source, config, dtype.name)
    owners = {
        name: (path, layer if layout.stacked else None)
        for path, layout in layouts.items()
        for layer, name in enumerate(layout.names)
    }
    write_tensors(
        directory,
        {name: layouts[path].stored for name, (path, _) in owners.items()},
        dtype,
        lambda name: _blocks(read(*owners[name]), layouts[owners[name][0]], dtype),
        max_file_bytes=max_file_bytes,
        keep=jax.process_index() == 0,
    )
    if jax.process_index() == 0:
        _write_companions(directory, values, config, source)


def _place(
    tensors: list[Any], layout: Layout, shape: Shape, dtype: jnp.dtype, sharding: NamedSharding | None
) -> jax.Array:
    """The parameter of `shape` from its stored tensors, on the devices."""
    if math.prod(shape) * np.dtype(dtype).itemsize <= WHOLE:
        everything = (slice(None),) * len(layout.view)
        parts = [read_view(tensor, layout, everything).transpose(layout.axes) for tensor in tensors]
        value = np.stack(parts).reshape(shape).astype(dtype)
        return _put(lambda index: value[index], shape, sharding)
    of_view = sharding and _sharding_of_view(sharding, layout)
    if layout.stacked:
        value = jnp.zeros(shape, dtype, device=sharding)
        for layer, tensor in enumerate(tensors):
            view = _put(partial(read_view, tensor, layout), layout.view, of_view)
            # Waiting keeps the host from running ahead of the transfers, one tensor after the other in its memory.
            value = jax.block_until_ready(_with_layer(value, view, layer, layout.axes, sharding))
    else:
        view = _put(partial(read_view, tensors[0], layout), layout.view, of_view)
        value = jax.block_until_ready(_arranged(view, layout.axes, dtype, sharding))
    return jax.device_put(value, sharding)  # moves nothing: the same placement, written the same way (P() or P(None))


def _put(read: Callable[[tuple], np.ndarray], shape: Shape, sharding: NamedSharding | None) -> jax.Array:
    """An array on the devices; `read` gives the part that an index stands for, and is asked for each part once."""
    if sharding is None:
        return jnp.asarray(read((slice(None),) * len(shape)))
    parts: dict[tuple, np.ndarray] = {}

    def part(index: tuple[slice, ...]) -> np.ndarray:
        key = tuple(one.indices(size) for one, size in zip(index, shape, strict=True))
        if key not in parts:
            parts[key] = read(index)
        return parts[key]

    return jax.make_array_from_callback(shape, sharding, part)


def _sharding_of_view(sharding: NamedSharding, layout: Layout) -> NamedSharding:
    """How the view of one layer lies on the mesh, so that arranging it moves nothing between devices."""
    spec = sharding.spec[1:] if layout.stacked else sharding.spec
    spec = (*spec, *(None,) * (len(layout.view) - len(spec)))
    return NamedSharding(sharding.mesh, PartitionSpec(*(spec[axis] for axis in layout.back)))


@partial(jax.jit, static_argnames=("axes", "dtype", "sharding"), donate_argnames="view")
def _arranged(view: jax.Array, axes: tuple[int, ...], dtype: jnp.dtype, sharding: NamedSharding | None) -> jax.Array:
    return _kept(view.transpose(axes).astype(dtype), sharding)


@partial(jax.jit, static_argnames=("axes", "sharding"), donate_argnames="stack")
def _with_layer(
    stack: jax.Array, view: jax.Array, layer: int, axes: tuple[int, ...], sharding: NamedSharding | None
) -> jax.Array:
    """`stack` [L, ...] with its layer number `layer` from the view; in place, since the old stack is donated."""
    # As integers: XLA on a CPU would convert a whole bfloat16 stack to float32 and back for the sake of one layer.
    bits = jnp.dtype(f"uint{8 * stack.dtype.itemsize}")
    new = jax.lax.bitcast_convert_type(view.transpose(axes).astype(stack.dtype), bits)
    filled = jax.lax.dynamic_update_index_in_dim(jax.lax.bitcast_convert_type(stack, bits), new, layer, axis=0)
    return _kept(jax.lax.bitcast_convert_type(filled, stack.dtype), sharding)


@jax.jit
def _layer(stack: jax.Array, layer: int) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(stack, layer, keepdims=False)


def _kept(x: jax.Array, sharding: NamedSharding | None) -> jax.Array:
    return x if sharding is None else jax.lax.with_sharding_constraint(x, sharding)


def _fetch(x: jax.Array) -> np.ndarray:
    """The whole array on the host, wherever its parts are."""
    return np.asarray(x) if x.is_fully_addressable else multihost_utils.process_allgather(x, tiled=True)


def _blocks(layer: Any, layout: Layout, dtype: np.dtype) -> Iterator[np.ndarray]:
    """One layer's array as consecutive parts of the stored tensor."""
    rows = layout.view[0]
    row_bytes = math.prod(layout.view) // rows * np.dtype(layer.dtype.name).itemsize
    step = max(1, BLOCK // row_bytes)
    split = layout.axes.index(0)  # our axis that the stored tensor's rows are
    for start in range(0, rows, step):
        index = (*(slice(None),) * split, slice(start, min(start + step, rows)))
        yield np.asarray(layer[index]).transpose(layout.back).astype(dtype, copy=False)


def _write_companions(
    directory: Path, values: dict[str, Any], config: PolicyConfig, source: ModelDirectory | None
) -> None:
    """Write config.json and the other files: copied from `source`, made from `config` where it has none."""
    _write_json(directory / "config.json", values)
    ends = {"bos_token_id": config.bos, "eos_token_id": list(config.eos), "pad_token_id": config.pad}
    _write_json(directory / "generation_config.json", {key: value for key, value in ends.items() if value is not None})
    _write_json(directory / "preprocessor_config.json", _preprocessor(config))
    if source is None:
        return
    for file in source.companions():
        shutil.copyfile(file, directory / file.name)
    if not source.has_chat_template:
        (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def _preprocessor(config: PolicyConfig) -> dict[str, Any]:
    """The preprocessor_config.json of Qwen2.5-VL, as published but for the patches of this policy."""
    vision = config.vision
    return {
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_processor_type": "Qwen2VLImageProcessor",
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "max_pixels": 12_845_056,
        "merge_size": vision.merge,
        "min_pixels": 3136,
        "patch_size": vision.patch,
        "processor_class": "Qwen2_5_VLProcessor",
        "temporal_patch_size": vision.temporal_patch,
    }


def _config_like(source: ModelDirectory, config: PolicyConfig, dtype: str) -> dict[str, Any]:
    """Return the config.json of `source`, which names `dtype` and says whether the embeddings of `config` are tied.

    Raises ValueError where the two are of another architecture.
    """
    theirs = source.config()
    if replace(theirs, text=replace(theirs.text, tied=config.text.tied)) != config:
        raise ValueError(f"{source.base}: its config.json is of another architecture than these weights")
    values = _with_dtype(source.config_json(), dtype)
    values.pop("transformers_weights", None)  # the name of a file that isn't written
    if theirs.text.tied != config.text.tied:
        for part in (values, values.get("text_config") or {}):
            part["tie_word_embeddings"] = config.text.tied
    return values


def _with_dtype(values: dict[str, Any], dtype: str) -> dict[str, Any]:
    """A parsed config.json that names `dtype` wherever it named one ("torch_dtype" before transformers 5)."""

    def changed(part: dict[str, Any]) -> dict[str, Any]:
        return {
            key: changed(value) if isinstance(value, dict) else dtype if key in ("dtype", "torch_dtype") else value
            for key, value in part.items()
        }

    return {"torch_dtype" if "torch_dtype" in values else "dtype": dtype, **changed(values)}


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
