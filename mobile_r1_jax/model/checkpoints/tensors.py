"""Which tensors of a published Qwen2.5-VL checkpoint make up which parameter here, and how the two are laid out.

A matrix is stored there as [out, in] and held here as [in, out]; layers are stored apart and held in one array with a
leading axis L. Between the two stands the *view*: the stored bytes with our axes, in their order.

    stored [3 * N*H, D]   view [3, N*H, D]   parameter of one layer [D, 3, N*H] = view.transpose(2, 0, 1)
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobile_r1_jax.model.checkpoints.safetensors_files import join_names
from mobile_r1_jax.model.config import PolicyConfig

Shape = tuple[int, ...]

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


@dataclass(frozen=True)
class Layout:
    """Where one parameter is in a published checkpoint.

    names: of the tensors, one per layer where layers are stacked, else one.
    stored: shape of each of them; view: the same bytes with our axes; one layer of ours is view.transpose(axes).
    """

    names: tuple[str, ...]
    stacked: bool
    stored: Shape
    view: Shape
    axes: tuple[int, ...]

    @property
    def back(self) -> tuple[int, ...]:
        """The axes that take one layer of ours to the view."""
        return tuple(np.argsort(self.axes))


def layout_of(path: str, shape: Shape, config: PolicyConfig) -> Layout:
    """The layout of the parameter at `path`, such as "text.layers.q.kernel", of that shape."""
    name = NAMES[path]
    stacked = "{}" in name
    layers, one = (shape[0], shape[1:]) if stacked else (1, shape)
    names = tuple(name.format(layer) for layer in range(layers))
    if path.endswith("kernel"):
        view, axes = (*one[1:], one[0]), (len(one) - 1, *range(len(one) - 1))
        stored = (math.prod(one[1:]), one[0])
    else:
        view, axes, stored = one, tuple(range(len(one))), one
    if path == "vision.patch_embedding.kernel":  # stored as a convolution
        vision = config.vision
        stored = (vision.width, vision.channels, vision.temporal_patch, vision.patch, vision.patch)
    elif path == "vision.layers.qkv_bias":
        stored = (math.prod(one),)
    return Layout(names, stacked, stored, view, axes)


def read_view(tensor: Any, layout: Layout, index: tuple[slice, ...]) -> np.ndarray:
    """The part `index` of the view, reading no more than that from the file.

    Args:
      tensor: indexed by slices, of shape layout.stored, such as a safetensors slice.
      index: one slice per axis of the view.
    """
    if len(layout.stored) < len(layout.view):  # [3, N*H, ...] is stored as [3 * N*H, ...]
        inner = layout.view[1]
        start, stop, _ = index[1].indices(inner)
        outer = range(*index[0].indices(layout.view[0]))
        return np.stack([tensor[(slice(i * inner + start, i * inner + stop), *index[2:])] for i in outer])
    if len(layout.stored) > len(layout.view):  # a convolution
        part = tensor[index[0]]
        return part.reshape(len(part), -1)[:, index[1]]
    return tensor[index]


def published_name(name: str) -> str:
    """Return the published name of a tensor that is named as in one of transformers' modules.

    model.language_model.X, model.model.X and language_model.X are model.X; model.visual.X is visual.X.
    """
    return re.sub(
        r"^model\.visual\.", "visual.", re.sub(r"^(model\.)?(language_model|model)\.(?!model\.)", "model.", name)
    )


def describe_mismatches(found: Mapping[str, Shape], layouts: Mapping[str, Layout]) -> list[str]:
    """Say in words which tensors are missing, extra or misshapen, at most five of each; `found`: name -> shape."""
    wanted = {name: layout.stored for layout in layouts.values() for name in layout.names}
    if prefix := _wrapper_prefix(found, wanted):
        return [f"tensor names begin with {prefix!r}, which a wrapper added: save the model inside it, or rename them"]
    problems = {
        "missing ": [f"{name} {shape}" for name, shape in wanted.items() if name not in found],
        "extra ": sorted(found.keys() - wanted.keys()),
        "": [
            f"{name} is {found[name]}, need {shape}"
            for name, shape in sorted(wanted.items())
            if name in found and found[name] != shape
        ],
    }
    said = [kind + join_names(names) for kind, names in problems.items() if names]
    if "lm_head.weight" in wanted and "lm_head.weight" not in found:
        said.append("config.json says that embeddings are not tied (tie_word_embeddings)")
    return said


def _wrapper_prefix(found: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> str | None:
    """The prefix without which names in `found` would be wanted, such as "module." or "base_model.model."."""
    for rename in (str, published_name):
        for name in sorted(found.keys() - wanted.keys()):
            for dot in re.finditer(r"\.", name):
                rest = rename(name[dot.end() :])
                if rest in wanted and rest not in found:
                    return name[: dot.end()]
    return None
