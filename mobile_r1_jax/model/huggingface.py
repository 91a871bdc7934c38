"""Qwen2.5-VL weights from and to Hugging Face directories (safetensors and config.json)."""

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from safetensors import safe_open
from safetensors.numpy import save_file

from mobile_r1_jax.model.config import PolicyConfig, VisionConfig, config_from_json, config_to_json
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.sharding import parameter_shardings

# Our parameter's path -> tensor name in a published checkpoint; `{}` is the layer.
NAMES = {
    "text.embedding": "model.embed_tokens.weight",
    "text.head": "lm_head.weight",
    "text.norm.scale": "model.norm.weight",
    "text.layers.attention_norm.scale": "model.layers.{}.input_layernorm.weight",
    "text.layers.q.kernel": "model.layers.{}.self_attn.q_proj.weight",
    "text.layers.q.bias": "model.layers.{}.self_attn.q_proj.bias",
    "text.layers.k.kernel": "model.layers.{}.self_attn.k_proj.weight",
    "text.layers.k.bias": "model.layers.{}.self_attn.k_proj.bias",
    "text.layers.v.kernel": "model.layers.{}.self_attn.v_proj.weight",
    "text.layers.v.bias": "model.layers.{}.self_attn.v_proj.bias",
    "text.layers.out.kernel": "model.layers.{}.self_attn.o_proj.weight",
    "text.layers.feed_forward_norm.scale": "model.layers.{}.post_attention_layernorm.weight",
    "text.layers.feed_forward.gate.kernel": "model.layers.{}.mlp.gate_proj.weight",
    "text.layers.feed_forward.up.kernel": "model.layers.{}.mlp.up_proj.weight",
    "text.layers.feed_forward.down.kernel": "model.layers.{}.mlp.down_proj.weight",
    "vision.patch_embedding.kernel": "visual.patch_embed.proj.weight",
    "vision.layers.attention_norm.scale": "visual.blocks.{}.norm1.weight",
    "vision.layers.qkv_kernel": "visual.blocks.{}.attn.qkv.weight",
    "vision.layers.qkv_bias": "visual.blocks.{}.attn.qkv.bias",
    "vision.layers.out.kernel": "visual.blocks.{}.attn.proj.weight",
    "vision.layers.out.bias": "visual.blocks.{}.attn.proj.bias",
    "vision.layers.feed_forward_norm.scale": "visual.blocks.{}.norm2.weight",
    "vision.layers.feed_forward.gate.kernel": "visual.blocks.{}.mlp.gate_proj.weight",
    "vision.layers.feed_forward.gate.bias": "visual.blocks.{}.mlp.gate_proj.bias",
    "vision.layers.feed_forward.up.kernel": "visual.blocks.{}.mlp.up_proj.weight",
    "vision.layers.feed_forward.up.bias": "visual.blocks.{}.mlp.up_proj.bias",
    "vision.layers.feed_forward.down.kernel": "visual.blocks.{}.mlp.down_proj.weight",
    "vision.layers.feed_forward.down.bias": "visual.blocks.{}.mlp.down_proj.bias",
    "vision.merger_norm.scale": "visual.merger.ln_q.weight",
    "vision.merger_up.kernel": "visual.merger.mlp.0.weight",
    "vision.merger_up.bias": "visual.merger.mlp.0.bias",
    "vision.merger_down.kernel": "visual.merger.mlp.2.weight",
    "vision.merger_down.bias": "visual.merger.mlp.2.bias",
}


def load_policy(
    directory: str | Path,
    dtype: jnp.dtype = jnp.float32,
    *,
    param_dtype: jnp.dtype | None = None,
    remat: str = "none",
    mesh: Mesh | None = None,
) -> Policy:
    """Load a policy from config.json and one or several safetensors files.

    Args:
      directory: as published on the Hugging Face hub, or as written by `save_policy` or transformers 5.
      dtype: of the computation; param_dtype: of the weights, the same when None.
      mesh: place every parameter as sharding.py says; on the default device when None.

    Raises:
      FileNotFoundError: no config.json or no safetensors there.
      ValueError: one error that names every missing, extra and misshapen tensor.
    """
    directory = Path(directory)
    config_file = directory / "config.json"
    if not config_file.is_file():
        raise FileNotFoundError(f"{directory}: no config.json; a Hugging Face model directory is needed")
    config = config_from_json(json.loads(config_file.read_text()))
    param_dtype = dtype if param_dtype is None else param_dtype
    kinds = {"dtype": dtype, "param_dtype": param_dtype, "remat": remat}
    graph, state = nnx.split(nnx.eval_shape(lambda: Policy(config, rngs=nnx.Rngs(0), **kinds)))
    flat = {".".join(path): variable for path, variable in nnx.to_flat_state(state)}
    shardings = None if mesh is None else parameter_shardings(config, {k: v.shape for k, v in flat.items()}, mesh)
    with ExitStack() as stack:
        tensors = _open_tensors(directory, stack)
        _check_tensors(directory, tensors, config, {path: variable.shape for path, variable in flat.items()})
        for path, variable in flat.items():
            parts = [tensors[name][:] for name, _ in _tensors_of(path, variable.shape, config)]
            value = _from_tensors(path, parts, variable.shape).astype(param_dtype)
            variable.set_value(jax.device_put(value, shardings and shardings[path]))
    return nnx.merge(graph, state)


def save_policy(policy: Policy, directory: str | Path) -> None:
    """Write model.safetensors, config.json and generation_config.json that transformers loads; weights bit by bit."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    config = policy.config
    tensors: dict[str, np.ndarray] = {}
    for path, variable in nnx.to_flat_state(nnx.state(policy)):
        path, value = ".".join(path), np.asarray(jax.device_get(variable.get_value()))
        names = _tensors_of(path, value.shape, config)
        layers = value if "{}" in NAMES[path] else value[None]
        for (name, shape), layer in zip(names, layers, strict=True):
            if path.endswith("kernel"):
                layer = layer.reshape(layer.shape[0], -1).T
            tensors[name] = np.ascontiguousarray(layer.reshape(shape))
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    kind = str(tensors["model.embed_tokens.weight"].dtype)
    ends = {"bos_token_id": config.bos, "eos_token_id": list(config.eos), "pad_token_id": config.pad}
    _write_json(directory / "config.json", config_to_json(config, kind))
    _write_json(directory / "generation_config.json", {key: value for key, value in ends.items() if value is not None})


def _write_json(path: Path, values: dict) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")


def _tensors_of(path: str, shape: tuple[int, ...], config: PolicyConfig) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the tensors that make up the parameter at `path`: one per layer where layers are stacked."""
    name = NAMES[path]
    layers, one = (shape[0], shape[1:]) if "{}" in name else (1, shape)
    if path == "vision.patch_embedding.kernel":
        one = _convolution_shape(config.vision)
    elif path.endswith("kernel"):
        one = (int(np.prod(one[1:])), one[0])
    else:
        one = one if path != "vision.layers.qkv_bias" else (int(np.prod(one)),)
    return [(name.format(layer), one) for layer in range(layers)]


def _convolution_shape(vision: VisionConfig) -> tuple[int, ...]:
    """Patch embedding is stored as a convolution: [D, channels, frames, patch, patch]."""
    return (vision.width, vision.channels, vision.temporal_patch, vision.patch, vision.patch)


def _from_tensors(path: str, parts: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Our parameter from its tensors: kernels are stored [out, in] there and [in, out] here."""
    if path.endswith("kernel"):
        parts = [part.reshape(part.shape[0], -1).T for part in parts]
    return np.stack(parts).reshape(shape)


def _open_tensors(directory: Path, stack: ExitStack) -> dict[str, Any]:
    """Tensor name, as published, -> the tensor, not yet read."""
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        files = sorted({directory / name for name in json.loads(index.read_text())["weight_map"].values()})
    else:
        files = sorted(directory.glob("*.safetensors"))
    absent = [file.name for file in files if not file.is_file()]
    if absent or not files:
        raise FileNotFoundError(f"{directory}: no {', '.join(absent) or '*.safetensors'}; download the whole model")
    tensors = {}
    for file in files:
        handle = stack.enter_context(safe_open(file, framework="numpy"))
        for name in handle.keys():  # noqa: SIM118 (a handle is no dict)
            # transformers names the towers model.visual and model.language_model in memory; some exports keep that.
            published = re.sub(r"^model\.visual\.", "visual.", re.sub(r"^model\.language_model\.", "model.", name))
            tensors[published] = handle.get_slice(name)
    return tensors


def _check_tensors(
    directory: Path, tensors: dict[str, Any], config: PolicyConfig, shapes: dict[str, tuple[int, ...]]
) -> None:
    wanted = dict(pair for path, shape in shapes.items() for pair in _tensors_of(path, shape, config))
    # A tied checkpoint may carry the embedding a second time.
    found = {name for name in tensors if not (config.text.tied and name == "lm_head.weight")}
    stored = {name: tuple(tensors[name].get_shape()) for name in wanted.keys() & found}
    problems = [f"missing {name} {shape}" for name, shape in wanted.items() if name not in found]
    problems += [f"extra {name}" for name in sorted(found - wanted.keys())]
    problems += [
        f"{name} is {shape}, need {wanted[name]}" for name, shape in sorted(stored.items()) if shape != wanted[name]
    ]
    if problems:
        raise ValueError(f"{directory}: tensors don't fit config.json: {'; '.join(problems)}")
