"""google/tunix: its sampler and the jitted step of its RL trainer, on its Qwen2 with our weights."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from tunix.generate.sampler import CacheConfig, Sampler
from tunix.models.qwen2.model import ModelConfig, Qwen2
from tunix.models.qwen2.params import create_model_from_safe_tensors
from tunix.rl.algo_core import grpo_loss_fn
from tunix.rl.common import TrainExample
from tunix.rl.grpo.grpo_learner import GRPOConfig
from tunix.rl.trainer import Trainer
from tunix.sft.peft_trainer import TrainingConfig

from benchmarks.peers.work import Sampling, Update, draw_text
from mobile_r1_jax.model.config import TextConfig

PAD, NO_STOP = 0, -1  # no prompt contains the pad, and no token ends a completion


class Numbers:
    """A tokenizer of ids written as decimals, because the sampler takes strings."""

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))

    def bos_id(self) -> None:
        return None

    def eos_id(self) -> int:
        return NO_STOP

    def pad_id(self) -> int:
        return PAD


def load(directory: Path, config: TextConfig) -> Qwen2:
    """Load tunix's Qwen2 with its own safetensors reader from a Qwen2 checkpoint."""
    shape = ModelConfig(
        num_layers=config.layers,
        vocab_size=config.vocab,
        embed_dim=config.width,
        hidden_dim=config.feed_forward,
        num_heads=config.heads,
        head_dim=config.head_width,
        num_kv_heads=config.kv_heads,
        rope_theta=int(config.rope_theta),
        norm_eps=config.norm_eps,
        use_tied_embedding=config.tied,
    )
    mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    return create_model_from_safe_tensors(str(directory), shape, mesh, jnp.float32)


def sampling(model: Qwen2, work: Sampling, temperature: float) -> Callable[[], np.ndarray]:
    """Return a function that samples and returns the ids [B * G, C]; each prompt `group` times, as in its rollouts."""
    config = model.config
    cache = CacheConfig(work.prompt + work.tokens, config.num_layers, config.num_kv_heads, config.head_dim)
    sampler = Sampler(model, Numbers(), cache)
    prompts = np.repeat(draw_text(work, config.vocab_size).prompts, work.group, 0)
    said = [Numbers().decode(prompt) for prompt in prompts]
    settings = {"temperature": temperature, "top_p": 1.0} if temperature else {}

    def run() -> np.ndarray:
        output = sampler(
            said,
            max_generation_steps=work.tokens,
            max_prompt_length=work.prompt,
            eos_tokens=[NO_STOP],
            return_logprobs=True,  # as in its rollouts for GRPO
            seed=0,
            **settings,
        )
        return np.stack(output.tokens)

    return run


def update(model: Qwen2, work: Update) -> Callable[[], np.ndarray]:
    """Return a function that updates the model and returns [loss, gradient norm]."""
    text = draw_text(work, model.config.vocab_size)
    completions = jnp.asarray(text.completions.reshape(-1, work.tokens))
    prompts = jnp.asarray(np.repeat(text.prompts, work.group, 0))
    example = TrainExample(
        prompt_ids=prompts,
        prompt_mask=jnp.ones_like(prompts, bool),
        completion_ids=completions,
        completion_mask=jnp.ones_like(completions, bool),
        advantages=jnp.asarray(text.advantages.reshape(-1)),
        ref_per_token_logps=None,
        old_per_token_logps=None,
    )
    settings = GRPOConfig(num_generations=work.group, beta=0.0, loss_agg_mode="token-mean")
    settings.temperature = 1.0
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-6, weight_decay=0.0))
    trainer = Trainer(nnx.clone(model), optimizer, TrainingConfig(eval_every_n_steps=10**9), dict)
    trainer.with_loss_fn(
        lambda model, train_example, algo_config: grpo_loss_fn(model, train_example, algo_config, PAD, NO_STOP),
        has_aux=True,
    )
    trainer.with_gen_model_input_fn(lambda example: {"train_example": example, "algo_config": settings})
    step, _ = trainer.jit_train_and_eval_step(cache_nnx_graph=True)

    def run() -> np.ndarray:
        loss, _, norm = step(example)
        jax.block_until_ready(nnx.state(trainer.model))
        return np.array([loss, norm])

    return run
