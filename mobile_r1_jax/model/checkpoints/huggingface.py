"""Import and export of Qwen2.5-VL weights from and to Hugging Face directories, of any size.

The host never holds the whole model. Import copies one stored tensor at a time to the devices and transposes it there.
Export copies one layer's tensor at a time to the host and writes it in blocks.
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

# Bytes. Parameters up to this size are assembled on the host, without compilation; larger ones on the devices.
WHOLE = 16 * 2**20
# Bytes. Tensors are written in blocks of at most this size, in their current dtype.
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

    The host holds one stored tensor at a time, and only the part of it that its devices need: less than the largest
    tensor and 2 GB.

    Args:
      directory: a model as published on the Hugging Face hub, or as written by `save_policy` or transformers 5; or PEFT
        adapters, which are merged into the weights of their base.
      dtype: dtype of the computation; param_dtype: dtype of the weights, None for the same.
      base: the model that the adapters in `directory` belong to; None: the one that their adapter_config.json names.
      mesh: place every parameter by sharding.py; None: on the default device.

    Raises:
      FileNotFoundError: there is no config.json, or no safetensors file.
      ValueError: one line for a broken file, a quantised checkpoint, tensors that do not fit config.json, or a mesh
        that does not divide them.
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
    """Return the config of the policy that `load_policy` would load. It opens the tensors and has the same errors."""
    with ExitStack() as stack:
        return open_policy(find_model(directory, base), stack)[0]


@contextmanager
def stored_weights(directory: str | Path, base: str | Path | None = None) -> Iterator[Read]:
    """Yield a function for `write_model` that reads one layer of one parameter of a model directory.

    It returns the layer in the stored dtype and in the layout of our parameters. `base` and errors are those of
    `load_policy`."""
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
    """Write a policy by `write_model`, from its devices, with adapters merged in.

    If `dtype` is that of the weights, or None, weights without adapters are written bit by bit. The host holds the
    small parameters and one layer's tensor at a time. If several processes share the policy, all of them must call this
    function, and process 0 writes.
    """
    state = nnx.state(policy, nnx.Not(nnx.LoRAParam))
    values = {path: variable.get_value() for path, variable in by_path(state).items()}
    whole = {path: _to_host(value) for path, value in values.items() if value.nbytes <= WHOLE}

    def read(path: str, layer: int | None) -> np.ndarray:
        if path in whole:
            return whole[path] if layer is None else whole[path][layer]
        return _to_host(values[path] if layer is None else _take_layer(values[path], layer))

    write_model(
        directory,
        policy.config,
        {path: value.shape for path, value in values.items()},
        merge_on_read(
            read, {path: (_to_host(a), _to_host(b), scale) for path, (a, b, scale) in adapters_of(policy).items()}
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
    """Write a model directory that transformers loads, with the files of a published one.

    It has the weights in files of up to `max_file_bytes`, with their index (a small model: one file, no index),
    config.json, generation_config.json, preprocessor_config.json, and from `like` the tokenizer's files. A chat
    template is added if `like` has none.

    Args:
      shapes: path of each parameter, such as "text.layers.q.kernel" -> its shape here.
      read: (path, layer; None if layers are not stacked) -> the array of this layer, or an object that gives arrays
        when sliced.
      dtype: dtype of the written weights.
      like: the model directory to copy all other files from, such as the one that training started from. Its
        config.json is kept, except for the dtype and whether embeddings are tied.
      base: as for `load_policy`, if `like` holds adapters.

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
    """Return the parameter of `shape`, made of its stored tensors, on the devices."""
    if math.prod(shape) * np.dtype(dtype).itemsize <= WHOLE:
        everything = (slice(None),) * len(layout.view)
        parts = [read_view(tensor, layout, everything).transpose(layout.axes) for tensor in tensors]
        value = np.stack(parts).reshape(shape).astype(dtype)
        return _put(lambda index: value[index], shape, sharding)
    view_sharding = sharding and _view_sharding(sharding, layout)
    if layout.stacked:
        value = jnp.zeros(shape, dtype, device=sharding)
        for layer, tensor in enumerate(tensors):
            view = _put(partial(read_view, tensor, layout), layout.view, view_sharding)
            # Wait, so that the host does not read further tensors into memory before the transfer is complete.
            value = jax.block_until_ready(_set_layer(value, view, layer, layout.axes, sharding))
    else:
        view = _put(partial(read_view, tensors[0], layout), layout.view, view_sharding)
        value = jax.block_until_ready(_arrange(view, layout.axes, dtype, sharding))
    return jax.device_put(value, sharding)  # copies nothing: it only unifies the spec (P() or P(None))


def _put(read: Callable[[tuple], np.ndarray], shape: Shape, sharding: NamedSharding | None) -> jax.Array:
    """Return an array on the devices. `read` returns the part at an index; it is called once per distinct part."""
    if sharding is None:
        return jnp.asarray(read((slice(None),) * len(shape)))
    parts: dict[tuple, np.ndarray] = {}

    def part(index: tuple[slice, ...]) -> np.ndarray:
        place = tuple(one.indices(size) for one, size in zip(index, shape, strict=True))
        if place not in parts:
            parts[place] = read(index)
        return parts[place]

    return jax.make_array_from_callback(shape, sharding, part)


def _view_sharding(sharding: NamedSharding, layout: Layout) -> NamedSharding:
    """Return the sharding of one layer's view, such that transposing it moves nothing between devices."""
    spec = sharding.spec[1:] if layout.stacked else sharding.spec
    spec = (*spec, *(None,) * (len(layout.view) - len(spec)))
    return NamedSharding(sharding.mesh, PartitionSpec(*(spec[axis] for axis in layout.back)))


@partial(jax.jit, static_argnames=("axes", "dtype", "sharding"), donate_argnames="view")
def _arrange(view: jax.Array, axes: tuple[int, ...], dtype: jnp.dtype, sharding: NamedSharding | None) -> jax.Array:
    return _constrain(view.transpose(axes).astype(dtype), sharding)


@partial(jax.jit, static_argnames=("axes", "sharding"), donate_argnames="stack")
def _set_layer(
    stack: jax.Array, view: jax.Array, layer: int, axes: tuple[int, ...], sharding: NamedSharding | None
) -> jax.Array:
    """Return `stack` [L, ...] with layer number `layer` set from the view; in place, since the stack is donated."""
    # As integers: for one bfloat16 layer, XLA on a CPU would convert the whole stack to float32 and back.
    bits = jnp.dtype(f"uint{8 * stack.dtype.itemsize}")
    new = jax.lax.bitcast_convert_type(view.transpose(axes).astype(stack.dtype), bits)
    filled = jax.lax.dynamic_update_index_in_dim(jax.lax.bitcast_convert_type(stack, bits), new, layer, axis=0)
    return _constrain(jax.lax.bitcast_convert_type(filled, stack.dtype), sharding)


@jax.jit
def _take_layer(stack: jax.Array, layer: int) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(stack, layer, keepdims=False)


def _constrain(x: jax.Array, sharding: NamedSharding | None) -> jax.Array:
    return x if sharding is None else jax.lax.with_sharding_constraint(x, sharding)


def _to_host(x: jax.Array) -> np.ndarray:
    """Return the whole array on the host, gathered from all processes."""
    return np.asarray(x) if x.is_fully_addressable else multihost_utils.process_allgather(x, tiled=True)


def _blocks(layer: Any, layout: Layout, dtype: np.dtype) -> Iterator[np.ndarray]:
    """Yield one layer's array as consecutive parts of the stored tensor."""
    rows = layout.view[0]
    row_bytes = math.prod(layout.view) // rows * np.dtype(layer.dtype.name).itemsize
    step = max(1, BLOCK // row_bytes)
    split = layout.axes.index(0)  # our axis that holds the rows of the stored tensor
    for start in range(0, rows, step):
        index = (*(slice(None),) * split, slice(start, min(start + step, rows)))
        yield np.asarray(layer[index]).transpose(layout.back).astype(dtype, copy=False)


def _write_companions(
    directory: Path, values: dict[str, Any], config: PolicyConfig, source: ModelDirectory | None
) -> None:
    """Write config.json and the other files: copies of those of `source`, or made from `config`."""
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
    """Return the published preprocessor_config.json of Qwen2.5-VL, with the patch sizes of this policy."""
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
    """Return the config.json of `source`, with `dtype` and with the tied or untied embeddings of `config`.

    Raises ValueError if the two have different architectures.
    """
    original = source.config()
    if replace(original, text=replace(original.text, tied=config.text.tied)) != config:
        raise ValueError(f"{source.base}: its config.json is of another architecture than these weights")
    values = _with_dtype(source.config_json(), dtype)
    values.pop("transformers_weights", None)  # the name of a file that is not written
    if original.text.tied != config.text.tied:
        for part in (values, values.get("text_config") or {}):
            part["tie_word_embeddings"] = config.text.tied
    return values


def _with_dtype(values: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Return a parsed config.json with every dtype set to `dtype` ("torch_dtype" before transformers 5)."""

    def change(part: dict[str, Any]) -> dict[str, Any]:
        return {
            name: change(value) if isinstance(value, dict) else dtype if name in ("dtype", "torch_dtype") else value
            for name, value in part.items()
        }

    return {"torch_dtype" if "torch_dtype" in values else "dtype": dtype, **change(values)}


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
