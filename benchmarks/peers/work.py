"""The measured models and work. Every side can build the models and does the same amount of work."""

from dataclasses import dataclass

import numpy as np

from mobile_r1_jax.model.config import PolicyConfig, TextConfig, VisionConfig

SPECIAL = 8  # the last ids of a vocabulary; no prompt and no completion contains them


@dataclass(frozen=True)
class Sampling:
    """Sample `tokens` tokens for each of `group` completions of `prompts` prompts: a batch of prompts * group rows."""

    prompts: int
    group: int
    prompt: int
    tokens: int

    def __str__(self) -> str:
        batch = f"{self.prompts * self.group} ({self.prompts} x {self.group})"
        return f"sampling, batch {batch}, {self.prompt} + {self.tokens}"


@dataclass(frozen=True)
class Update:
    """One update from `prompts` prompts with `group` completions each: loss, gradients, clipping, AdamW.

    loss: "GRPO" with advantages and no reference, or "SFT", the mean log-likelihood of the completions.
    """

    loss: str
    prompts: int
    group: int
    prompt: int
    tokens: int

    def __str__(self) -> str:
        return f"{self.loss} step, {self.prompts} x G = {self.group}, {self.prompt} + {self.tokens}"


@dataclass(frozen=True)
class Encoding:
    """Encode `screens` screenshots of width x height pixels (the vision tower's input size)."""

    screens: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"screen encoding, {self.screens} of {self.width}x{self.height}"


Work = Sampling | Update | Encoding


@dataclass(frozen=True)
class Text:
    """Random token ids and advantages, without special ids and padding."""

    prompts: np.ndarray  # [B, P] int32
    completions: np.ndarray  # [B, G, C] int32
    advantages: np.ndarray  # [B, G] float32


def draw_text(work: Sampling | Update, vocab: int) -> Text:
    rng = np.random.default_rng(0)
    prompts = rng.integers(SPECIAL, vocab - SPECIAL, (work.prompts, work.prompt), dtype=np.int32)
    said = rng.integers(SPECIAL, vocab - SPECIAL, (work.prompts, work.group, work.tokens), dtype=np.int32)
    return Text(prompts, said, rng.normal(size=said.shape[:2]).astype(np.float32))


def draw_patches(work: Encoding, config: VisionConfig) -> np.ndarray:
    """Return random patches [N, patches of a screen, patch_values] float32, in the order of transformers."""
    patches = (work.height // config.patch) * (work.width // config.patch)
    return np.random.default_rng(0).normal(size=(work.screens, patches, config.patch_values)).astype(np.float32)


def model(*, vocab: int, text: dict[str, int], vision: dict[str, object]) -> PolicyConfig:
    """Return a policy config with head width 64; its special ids are the last of its vocabulary."""
    return PolicyConfig(
        text=TextConfig(vocab=vocab, mrope_section=(8, 12, 12), **text),
        vision=VisionConfig(out_width=text["width"], **vision),
        **dict(zip(("image_token", "video_token", "vision_start", "vision_end"), range(vocab - 4, vocab), strict=True)),
        bos=None,
        eos=(1,),
        pad=0,
    )


MODELS = {
    "tiny": model(
        vocab=512,
        text={"width": 128, "feed_forward": 256, "layers": 2, "heads": 2, "kv_heads": 1},
        vision={"width": 64, "feed_forward": 128, "layers": 2, "heads": 2, "full_attention": (1,)},
    ),
    "5 M": model(
        vocab=4096,
        text={"width": 256, "feed_forward": 768, "layers": 5, "heads": 4, "kv_heads": 2},
        vision={"width": 256, "feed_forward": 684, "layers": 4, "heads": 4, "full_attention": (3,)},
    ),
    "75 M": model(
        vocab=32_768,
        text={"width": 768, "feed_forward": 2048, "layers": 8, "heads": 12, "kv_heads": 4},
        vision={"width": 640, "feed_forward": 2048, "layers": 12, "heads": 8, "full_attention": (5, 11)},
    ),
    "3B": PolicyConfig(pad=151_643),  # the published Qwen2.5-VL-3B
}
