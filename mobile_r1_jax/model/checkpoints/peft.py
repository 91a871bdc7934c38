"""Adapters as PEFT has them: adapter_config.json and adapter_model.safetensors, for transformers' Qwen2.5-VL.

`peft.PeftModel.from_pretrained(model, directory)` puts them onto the model that training began with. PEFT's A is ours
transposed, [r, in], and so is its B, [out, r]; its names are those of transformers' modules in memory.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from mobile_r1_jax.model.checkpoints.tensors import NAMES
from mobile_r1_jax.model.lora import Matrices
from mobile_r1_jax.model.lora_settings import PROJECTIONS, LoRA

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def write_adapters(
    directory: Path, adapters: Mapping[str, Matrices], settings: LoRA, *, base: str, dtype: np.dtype
) -> None:
    """Write the adapters of `lora.adapters_of`, made with `settings`, as a PEFT directory; the host holds them all.

    Args:
      base: path or hub name of the model that they are for.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for path, (a, b, _) in adapters.items():
        for part, stacked in (("A", a), ("B", b)):
            for layer, matrix in enumerate(np.asarray(stacked)):
                name = f"base_model.model.{module_name(path, layer)}.lora_{part}.weight"
                tensors[name] = np.ascontiguousarray(matrix.T.astype(dtype))
    (directory / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
    (directory / CONFIG).write_text(json.dumps(_config(settings, base), indent=2, sort_keys=True) + "\n")


def module_name(path: str, layer: int | str) -> str:
    """The module of transformers that a linear map of the language model is, such as "text.layers.q"."""
    name = NAMES[f"{path}.kernel"].format(layer)
    return name.removesuffix(".weight").replace("model.", "model.language_model.", 1)


def _config(settings: LoRA, base: str) -> dict[str, object]:
    # A regular expression: by its last name alone a projection would be found in the vision tower, too.
    modules = [module_name(PROJECTIONS[name], "N").split(".N.")[1] for name in settings.projections]
    return {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": int(settings.alpha) if settings.alpha == int(settings.alpha) else settings.alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": settings.rank,
        "target_modules": rf"model\.language_model\.layers\.\d+\.({'|'.join(map(re.escape, modules))})",
        "task_type": "CAUSAL_LM",
        "use_rslora": False,
    }
