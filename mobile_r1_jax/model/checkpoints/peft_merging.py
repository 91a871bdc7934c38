"""LoRA adapters of a PEFT directory, merged into the stored tensors of their base: W + scale * B A.

Tensors are merged part by part as they are read, in float32, so the host never holds a merged model.
"""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobile_r1_jax.model.checkpoints.json_section import Section, read_json
from mobile_r1_jax.model.checkpoints.peft import CONFIG, WEIGHTS
from mobile_r1_jax.model.checkpoints.safetensors_files import join_names, open_file
from mobile_r1_jax.model.checkpoints.tensors import Shape, published_name

ELSE = "merge them with peft (merge_and_unload, save_pretrained) and give the merged model"
# Fields of adapter_config.json that change nothing about a merge, or that are read here. Any other one must be unset:
# it may stand for a variant that computes something else.
FIELDS = {
    *("alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying"),
    *("eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern"),
    *("layers_to_transform", "loftq_config", "lora_alpha", "lora_bias", "lora_dropout", "lora_ga_config"),
    *("megatron_config", "megatron_core", "modules_to_save", "peft_type", "peft_version", "qalora_group_size", "r"),
    *("rank_pattern", "revision", "target_modules", "target_parameters", "task_type", "use_rslora"),
}
# What `init_lora_weights` may be: the others (pissa, olora, corda, loftq, ...) change the base when training begins.
INITIAL = (None, True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class MergedTensor:
    """A matrix [out, in] with an adapter merged in; it is indexed by slices, as the stored one is."""

    stored: Any
    a: Any  # [r, in]
    b: Any  # [out, r]
    scale: float

    def get_shape(self) -> list[int]:
        return self.stored.get_shape()

    def __getitem__(self, index: slice | tuple[slice, ...]) -> np.ndarray:
        rows, columns = (*(index if isinstance(index, tuple) else (index,)), slice(None))[:2]
        added = self.b[rows].astype(np.float32) @ self.a[:, columns].astype(np.float32)
        return self.stored[rows, columns].astype(np.float32) + np.float32(self.scale) * added


def merge_adapters(tensors: Mapping[str, Any], directory: Path, stack: ExitStack) -> dict[str, Any]:
    """Return the tensors of the base, by published name, with the adapters of a PEFT directory merged in.

    Raises:
      ValueError: one line, if the adapters are of another base or kind than LoRA of linear layers, or a file is broken.
    """
    if not (directory / WEIGHTS).is_file():
        raise ValueError(f"{directory}: no {WEIGHTS}, though there is an {CONFIG}; save the adapters as safetensors")
    config = _read_config(directory)
    parts = open_file(directory / WEIGHTS, stack)
    pattern = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
    if strange := sorted(name for name in parts if not pattern.fullmatch(name)):
        raise ValueError(
            f"{directory / WEIGHTS}: {join_names(strange)}: only LoRA of linear layers is read here; {ELSE}"
        )
    merged = dict(tensors)
    for module in sorted({pattern.fullmatch(name)[1] for name in parts}):
        a, b = (parts.get(f"base_model.model.{module}.lora_{part}.weight") for part in "AB")
        name = published_name(f"{module}.weight")
        shapes = [None if part is None else tuple(part.get_shape()) for part in (a, b, tensors.get(name))]
        if not _fit(*shapes):
            raise ValueError(
                f"{directory}: adapters of {module} don't fit their base: A is {shapes[0]}, B is {shapes[1]}, "
                f"{name} of the base is {shapes[2]}; name the right base by --policy_base=DIR"
            )
        merged[name] = MergedTensor(tensors[name], a, b, _scale(config, module, rank=shapes[0][0]))
    return merged


def _read_config(directory: Path) -> Section:
    values, file = read_json(directory / CONFIG), directory / CONFIG
    if values.get("peft_type") != "LORA":
        raise ValueError(f"{file}: peft_type is {values.get('peft_type')!r}, only LORA is read here; {ELSE}")
    if (initial := values.get("init_lora_weights")) not in INITIAL:
        raise ValueError(f"{file}: init_lora_weights {initial!r} changes the base too; {ELSE}")
    if unknown := sorted(name for name, value in values.items() if value and name not in FIELDS):
        raise ValueError(f"{file}: {join_names(unknown)}: not supported here; {ELSE}")
    return Section(values, f"{file}: ")


def _fit(a: Shape | None, b: Shape | None, weight: Shape | None) -> bool:
    return (
        None not in (a, b, weight)
        and len(a) == len(b) == len(weight) == 2
        and (a[0] == b[1] and weight == (b[0], a[1]))
    )


def _scale(config: Section, module: str, rank: int) -> float:
    """alpha / r, or alpha / sqrt(r) (rsLoRA); patterns choose another alpha for some modules, as in PEFT."""
    patterns = config.section("alpha_pattern", {})
    key = next((key for key in patterns.values if re.match(rf"(.*\.)?({key})$", module)), None)
    alpha = config.number("lora_alpha") if key is None else patterns.number(key)
    return alpha / (rank**0.5 if config.get("use_rslora") else rank)
