"""An opened policy on disk: its config, and its tensors by published name, complete and with the right shapes."""

import re
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
from flax import nnx

from mobile_r1_jax.model.checkpoints.model_directory import ModelDirectory
from mobile_r1_jax.model.checkpoints.peft_merging import merge_adapters
from mobile_r1_jax.model.checkpoints.quantization import refuse_quantized
from mobile_r1_jax.model.checkpoints.safetensors_files import open_tensors
from mobile_r1_jax.model.checkpoints.tensors import Shape, describe_mismatches, layout_of, published_name
from mobile_r1_jax.model.config import PolicyConfig
from mobile_r1_jax.model.policy import Policy

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
IGNORED = re.compile(r"rotary_emb\.inv_freq")  # buffers of old checkpoints that transformers ignores
COMPARED_ROWS = 8192


def open_policy(model: ModelDirectory, stack: ExitStack) -> tuple[PolicyConfig, dict[str, Any]]:
    """Return the policy's config, and name -> tensor. Tensors are read when sliced; `stack` closes their files.

    If a head is stored that differs from the embedding, the config has untied embeddings, even if config.json ties
    them. transformers does the same.

    Raises:
      FileNotFoundError, ValueError: one line, if a file is missing or broken, or the tensors are quantised or do not
        fit config.json.
    """
    config, values = model.config(), model.config_json()
    named = values.get("transformers_weights")
    stored = open_tensors(model.base, stack, named=named and str(named))
    stored = {name: tensor for name, tensor in stored.items() if not IGNORED.search(name)}
    refuse_quantized(model.base, values, {name: tensor.get_dtype() for name, tensor in stored.items()})
    tensors = {published_name(name): tensor for name, tensor in stored.items()}
    if len(tensors) < len(stored):
        raise ValueError(f"{model.base}: tensors are stored twice, under different names of transformers")
    if model.adapters is not None:
        tensors = merge_adapters(tensors, model.adapters, stack)
    if config.text.tied:
        config, tensors = _tie(config, tensors)
    found = {name: tuple(tensor.get_shape()) for name, tensor in tensors.items()}
    layouts = {path: layout_of(path, shape, config) for path, shape in parameter_shapes(config).items()}
    if problems := describe_mismatches(found, layouts):
        raise ValueError(f"{model.base}: tensors don't fit config.json: {'; '.join(problems)}")
    return config, tensors


def parameter_shapes(config: PolicyConfig) -> dict[str, Shape]:
    """Return path -> shape of every parameter, such as "text.layers.q.kernel". Nothing is allocated."""
    state = nnx.state(nnx.eval_shape(lambda: Policy(config, rngs=nnx.Rngs(0))))
    return {path: variable.shape for path, variable in by_path(state).items()}


def by_path(state: nnx.State) -> dict[str, nnx.Variable]:
    return {".".join(path): variable for path, variable in nnx.to_flat_state(state)}


def _tie(config: PolicyConfig, tensors: dict[str, Any]) -> tuple[PolicyConfig, dict[str, Any]]:
    """Drop a head that equals the embedding, or that replaces it. If the two differ, untie the config."""
    if HEAD not in tensors:
        return config, tensors
    if EMBEDDING in tensors and not _equal(tensors[HEAD], tensors[EMBEDDING]):
        return replace(config, text=replace(config.text, tied=False)), tensors
    head = {EMBEDDING: tensors[HEAD]} if EMBEDDING not in tensors else {}
    return config, {name: tensor for name, tensor in tensors.items() if name != HEAD} | head


def _equal(one: Any, other: Any) -> bool:
    """Compare two stored matrices, a block of rows at a time."""
    shape = tuple(one.get_shape())
    if shape != tuple(other.get_shape()):
        return False
    starts = range(0, shape[0], COMPARED_ROWS)
    blocks = (slice(start, min(start + COMPARED_ROWS, shape[0])) for start in starts)
    return all(np.array_equal(one[block], other[block]) for block in blocks)
