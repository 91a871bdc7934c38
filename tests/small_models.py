"""Small random Qwen2.5-VL models of `transformers`, and prompts for them and for our policy."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from mobile_r1_jax.model.config import VisionConfig
from mobile_r1_jax.model.inputs import Prompts, Screens, collate

VOCAB, IMAGE, VIDEO, VISION_START, VISION_END, STOP = 160, 150, 151, 152, 153, 154
FORBIDDEN = (IMAGE, VIDEO, VISION_START, VISION_END)
SIZES = (
    (140, 84),
    (84, 196),
)  # (width, height): 5 x 3 and 3 x 7 merged tokens, neither is a multiple of the window of 4 x 4


@dataclass(frozen=True)
class Screen:
    sha: str
    patches: np.ndarray  # [n, 1176], Qwen's order


@dataclass(frozen=True)
class SmallPrompt:
    ids: np.ndarray
    positions: np.ndarray
    image_index: np.ndarray
    screenshots: tuple[Screen, ...]
    sizes: tuple[tuple[int, int], ...]


def make_torch_model(*, tied: bool, seed: int = 0) -> Qwen2_5_VLForConditionalGeneration:
    """Return a model with all parameters random and large enough that a test detects a missing bias or norm."""
    torch.manual_seed(seed)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCAB,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]},
            "bos_token_id": None,
            "eos_token_id": STOP,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 48,
            "intermediate_size": 80,
            "num_heads": 3,
            "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
        },
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
        tie_word_embeddings=tied,
    )
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0, 0.1)
            if "norm" in name or "ln_q" in name:
                parameter += 1
    return model


def make_prompt(
    model: Qwen2_5_VLForConditionalGeneration, sizes: tuple[tuple[int, int], ...], *, seed: int = 0, tail: int = 6
) -> SmallPrompt:
    """Return random text around one random screen per size; positions as `transformers` computes them."""
    rng = np.random.default_rng(seed)
    ids, image_index, screens, seen = list(rng.integers(0, 140, 4)), [-1] * 4, [], 0
    for number, (width, height) in enumerate(sizes):
        tokens = (width // 28) * (height // 28)
        words = list(rng.integers(0, 140, 3))
        ids += [VISION_START, *[IMAGE] * tokens, VISION_END, *words]
        image_index += [-1, *range(seen, seen + tokens), *[-1] * 4]
        seen += tokens
        screens.append(Screen(f"{seed}-{number}", rng.normal(size=(tokens * 4, 1176)).astype(np.float32)))
    ids += list(rng.integers(0, 140, tail))
    image_index += [-1] * tail
    ids = np.array(ids, np.int32)
    if sizes:
        positions, _ = model.model.get_rope_index(
            torch.tensor(ids[None], dtype=torch.long),
            mm_token_type_ids=torch.tensor((ids[None] == IMAGE).astype(np.int32)),
            image_grid_thw=grid_of(sizes),
        )
        positions = positions[:, 0].numpy().astype(np.int32)
    else:
        positions = np.tile(np.arange(len(ids), dtype=np.int32), (3, 1))
    return SmallPrompt(ids, positions, np.array(image_index, np.int32), tuple(screens), sizes)


def grid_of(sizes: tuple[tuple[int, int], ...]) -> torch.Tensor:
    """Return image_grid_thw [images, 3] of screens of `sizes`."""
    return torch.tensor([[1, height // 14, width // 14] for width, height in sizes])


def torch_inputs(prompt: SmallPrompt, completion: np.ndarray | None = None) -> dict[str, torch.Tensor]:
    """Return keyword arguments of the torch model for one prompt (and a completion after it)."""
    ids = prompt.ids if completion is None else np.concatenate([prompt.ids, completion])
    inputs = {"input_ids": torch.tensor(ids[None], dtype=torch.long), "attention_mask": torch.ones(1, len(ids))}
    if prompt.sizes:
        inputs["pixel_values"] = torch.tensor(np.concatenate([screen.patches for screen in prompt.screenshots]))
        inputs["image_grid_thw"] = grid_of(prompt.sizes)
        inputs["mm_token_type_ids"] = torch.tensor((ids[None] == IMAGE).astype(np.int32))
    return inputs


def batch(
    prompts: list[SmallPrompt], config: VisionConfig, *, length: int = 64, rows: int | None = None
) -> tuple[Screens, Prompts]:
    """Return the prompts in one batch of 4 screens (none for text alone) of 2 windows and `length` tokens."""
    return collate(
        prompts,
        lambda screen, size: screen.patches,
        config=config,
        prompt_buckets=(length,),
        screen_buckets=(0, 4),
        window_buckets=(0, 2),
        row_buckets=None if rows is None else (rows,),
    )


def save_torch_model(model: Qwen2_5_VLForConditionalGeneration, directory: Path, **kwargs: str) -> Path:
    model.save_pretrained(directory, **kwargs)
    return directory
