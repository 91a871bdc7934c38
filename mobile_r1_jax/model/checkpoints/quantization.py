"""Detection of quantised checkpoints of any method. They are refused: they hold scaled integers and no weights."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobile_r1_jax.model.checkpoints.json_section import read_json

WEIGHT_DTYPES = ("F64", "F32", "F16", "BF16")  # as safetensors names them
# Settings file of an older tool -> the method.
FILES = {"quantize_config.json": "gptq", "quant_config.json": "awq", "hf_quant_config.json": "modelopt"}
SECTIONS = ("quantization_config", "compression_config")
# Pattern of a method's tensor names -> the method. More specific patterns come first.
LAYOUTS = {
    r"\.g_idx$": "gptq",
    r"\.(qweight|qzeros)$": "awq or gptq",
    r"\.(SCB|weight_format)$": "bitsandbytes, 8 bits",
    r"\.(absmax|quant_map|nested_absmax|quant_state\.\w+)$": "bitsandbytes, 4 bits",
    r"\.weight_(packed|shape|g_idx|zero_point)$": "compressed-tensors",
    r"\.(weight_scale(_inv|_2)?|input_scale|activation_scale)$": "fp8 or int8 with scales",
    r"\.(codebooks|codes)$": "aqlm",
    r"\.(W_q|zero)$": "hqq",
    r"\.weight\._(data|scale)$": "quanto",
    r"[._](qdata|_data|tensor_impl)\b": "torchao",
    r"\.weight_(blocks|scales)$|_(blocks|scales)$": "mxfp4",
}


def refuse_quantized(directory: Path, values: Mapping[str, Any], dtypes: Mapping[str, str]) -> None:
    """Raise ValueError in one line that names the method, if a checkpoint is quantised.

    Args:
      values: the parsed config.json.
      dtypes: name of each stored tensor -> its dtype as safetensors names it, such as "BF16".
    """
    if found := _from_settings(directory, values) or _from_names(dtypes) or _from_dtypes(dtypes):
        raise ValueError(
            f"{directory}: the checkpoint is quantised ({found}); training needs the weights themselves: "
            "give the checkpoint that it was made from, or a dequantised copy in bfloat16"
        )


def _from_settings(directory: Path, values: Mapping[str, Any]) -> str | None:
    text = values.get("text_config")
    for part in (values, text if isinstance(text, Mapping) else {}):
        for section in SECTIONS:
            if settings := part.get(section):
                return f"{_method(settings)}; config.json: {section}"
    for name, method in FILES.items():
        if (directory / name).is_file():
            return f"{_method({'quant_method': method, **read_json(directory / name)})}; {name}"
    return None


def _method(settings: Any) -> str:
    """Name the method and the bits of a quantization_config."""
    if not isinstance(settings, Mapping):
        return "unknown method"
    method = str(settings.get("quant_method") or settings.get("format") or "")
    bits = settings.get("bits") or settings.get("w_bit")
    for key, width in {"load_in_4bit": 4, "load_in_8bit": 8}.items():
        if settings.get(key):
            method, bits = method or "bitsandbytes", width
    return f"{method or 'unknown method'}{f', {bits} bits' if bits else ''}"


def _from_names(dtypes: Mapping[str, str]) -> str | None:
    for pattern, method in LAYOUTS.items():
        if name := next((name for name in sorted(dtypes) if re.search(pattern, name)), None):
            return f"{method}; by its tensors, such as {name}"
    return None


def _from_dtypes(dtypes: Mapping[str, str]) -> str | None:
    weights = (name for name in sorted(dtypes) if name.endswith((".weight", ".bias")))
    name = next((name for name in weights if dtypes[name] not in WEIGHT_DTYPES), None)
    return name and f"{name} is stored as {dtypes[name]}"
