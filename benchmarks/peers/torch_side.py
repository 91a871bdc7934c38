"""torch on the CPU: generation and vision tower of transformers, TRL's GRPO trainer, and a plain finetuning step."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import (
    AutoTokenizer,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2ForCausalLM,
)

from benchmarks.peers.work import Encoding, Sampling, Update, draw_patches, draw_text
from mobile_r1_jax.model.config import VisionConfig

TOKENIZER = Path(__file__).resolve().parents[2] / "assets" / "tiny-base"  # TRL's trainer requires one; it is not used


def load_text(directory: Path) -> Qwen2ForCausalLM:
    """Load the language model from a Qwen2 checkpoint."""
    return Qwen2ForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def load_tower(directory: Path) -> torch.nn.Module:
    """Load the vision tower of a Qwen2.5-VL checkpoint."""
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(directory, dtype=torch.float32).model.visual.eval()


def sampling(model: Qwen2ForCausalLM, work: Sampling, temperature: float) -> Callable[[], np.ndarray]:
    """Return a function that samples with a KV cache and returns the ids [B * G, C]; each prompt `group` times."""
    prompts = torch.tensor(np.repeat(draw_text(work, model.config.vocab_size).prompts, work.group, 0)).long()
    settings = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}

    def run() -> np.ndarray:
        drawn = model.generate(
            input_ids=prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=work.tokens,
            eos_token_id=None,
            use_cache=True,
            **settings,
        )
        return drawn[:, work.prompt :].numpy()

    return run


def grpo_update(model: Qwen2ForCausalLM, work: Update, scratch: Path) -> Callable[[], np.ndarray]:
    """Return a function with TRL's loss, backward pass, clipping and optimizer that returns [loss, gradient norm]."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    settings = GRPOConfig(
        output_dir=str(scratch),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        beta=0.0,
        loss_type="bnpo",  # TRL's name for the mean over the batch's tokens
        num_generations=work.group,
        per_device_train_batch_size=work.prompts * work.group,
        learning_rate=1e-6,
        weight_decay=0.0,
        max_completion_length=work.tokens,
    )
    trainer = GRPOTrainer(
        copy.deepcopy(model),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=settings,
        train_dataset=Dataset.from_dict({"prompt": ["none"]}),
        processing_class=AutoTokenizer.from_pretrained(TOKENIZER),
    )
    text = draw_text(work, model.config.vocab_size)
    prompts, said = _rows(text.prompts, text.completions)
    inputs = {
        "prompt_ids": prompts,
        "prompt_mask": torch.ones_like(prompts),
        "completion_ids": said,
        "completion_mask": torch.ones_like(said),
        "advantages": torch.tensor(text.advantages.reshape(-1)),
    }
    trained = trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return _update(trained, trainer.create_optimizer(), lambda: trainer.compute_loss(trained, inputs))


def sft_update(model: Qwen2ForCausalLM, work: Update) -> Callable[[], np.ndarray]:
    """Return a function that finetunes on the completions, with logits for them alone: [loss, gradient norm]."""
    text = draw_text(work, model.config.vocab_size)
    prompts, said = _rows(text.prompts, text.completions)
    ids = torch.cat([prompts, said], 1)
    trained = copy.deepcopy(model).train()

    def loss() -> torch.Tensor:
        logits = trained(input_ids=ids, logits_to_keep=work.tokens + 1, use_cache=False).logits[:, :-1]
        return functional.cross_entropy(logits.flatten(0, 1), said.flatten())

    return _update(trained, torch.optim.AdamW(trained.parameters(), lr=1e-6, weight_decay=0.0, fused=True), loss)


def encoding(tower: torch.nn.Module, config: VisionConfig, work: Encoding) -> Callable[[], np.ndarray]:
    """Return a function that encodes the screens and returns the merged tokens [N, M, D] in raster order."""
    patches = torch.tensor(draw_patches(work, config).reshape(-1, config.patch_values))
    grid = torch.tensor([[1, work.height // config.patch, work.width // config.patch]] * work.screens)

    def run() -> np.ndarray:
        with torch.inference_mode():
            tokens = tower(patches, grid_thw=grid).pooler_output
        return tokens.reshape(work.screens, -1, tokens.shape[-1]).numpy()

    return run


def _rows(prompts: np.ndarray, completions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Reshape [B, P] and [B, G, C] to [B * G, P] and [B * G, C]."""
    group, tokens = completions.shape[1:]
    return torch.tensor(np.repeat(prompts, group, 0)).long(), torch.tensor(completions.reshape(-1, tokens)).long()


def _update(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, loss_of: Callable[[], torch.Tensor]
) -> Callable[[], np.ndarray]:
    def run() -> np.ndarray:
        loss = loss_of()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return np.array([loss.item(), norm.item()])

    return run
