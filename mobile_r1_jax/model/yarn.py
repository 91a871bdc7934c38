"""YaRN: rotary frequencies scaled for prompts longer than those of pretraining. [arXiv:2309.00071]

Fields, defaults and results match `modeling_rope_utils._compute_yarn_parameters` of transformers.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobile_r1_jax.model.checkpoints.json_section import Section


@dataclass(frozen=True)
class Yarn:
    """The scaling of rotary frequencies."""

    factor: float  # divisor of low frequencies
    original_positions: int  # the longest prompt of pretraining, in tokens
    attention_factor: float  # factor on cos and sin
    beta_fast: float = 32.0  # frequencies with more turns than this over original_positions stay unscaled
    beta_slow: float = 1.0  # frequencies with fewer turns than this are divided by `factor`
    truncate: bool = True  # round the borders of these two ranges to whole frequencies


def rope_type(rope: Section) -> str:
    """Return the rope type that a rope_scaling or rope_parameters object names."""
    return rope.get("rope_type") or rope.get("type") or "default"


def read_yarn(rope: Section, max_positions: int) -> Yarn | None:
    """Read rope_scaling or rope_parameters; None for no scaling. Raises ValueError for a scaling other than YaRN."""
    kind = rope_type(rope)
    if kind in ("default", "mrope"):
        return None
    if kind != "yarn":
        raise ValueError(f"config.json: rope type {kind!r} is not built here; default, mrope and yarn are")
    original = rope.count("original_max_position_embeddings", max_positions)
    factor = rope.number("factor", max_positions / original)
    scales = rope.number("mscale", 0.0), rope.number("mscale_all_dim", 0.0)
    return Yarn(
        factor,
        original,
        rope.number("attention_factor", _attention_factor(factor, *scales)),
        beta_fast=rope.number("beta_fast", 0.0) or 32.0,
        beta_slow=rope.number("beta_slow", 0.0) or 1.0,
        truncate=rope.get("truncate") is not False,
    )


def yarn_to_json(yarn: Yarn | None) -> dict[str, Any]:
    """Return the fields of rope_parameters that describe the scaling."""
    if yarn is None:
        return {"rope_type": "default"}
    return {
        "attention_factor": yarn.attention_factor,
        "beta_fast": yarn.beta_fast,
        "beta_slow": yarn.beta_slow,
        "factor": yarn.factor,
        "original_max_position_embeddings": yarn.original_positions,
        "rope_type": "yarn",
        "truncate": yarn.truncate,
    }


def yarn_frequencies(yarn: Yarn, frequencies: np.ndarray, theta: float) -> np.ndarray:
    """Divide the low frequencies by the factor and keep the high ones, with a ramp in between: [H / 2] float32."""
    pairs = len(frequencies)

    def index_of(turns: float) -> float:
        return pairs * math.log(yarn.original_positions / (turns * 2 * math.pi)) / math.log(theta)

    low, high = index_of(yarn.beta_fast), index_of(yarn.beta_slow)
    if yarn.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * pairs - 1)
    ramp = (np.arange(pairs, dtype=np.float32) - low) / (high - low or 0.001)
    divided = np.clip(ramp, 0, 1)
    return (frequencies / yarn.factor * divided + frequencies * (1 - divided)).astype(np.float32)


def _attention_factor(factor: float, mscale: float, mscale_all_dim: float) -> float:
    def scale(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    return scale(mscale) / scale(mscale_all_dim) if mscale and mscale_all_dim else scale(1.0)
