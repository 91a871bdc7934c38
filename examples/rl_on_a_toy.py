"""GRPO on another project's model: a small Flax network learns the squares of numbers, from rewards alone.

python examples/rl_on_a_toy.py
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from mobile_r1_jax.rl import GRPO, group_advantages, grpo_loss

PROMPTS = jnp.arange(32)  # [B]
ANSWERS = jnp.stack([PROMPTS**2 // 100, PROMPTS**2 // 10 % 10, PROMPTS**2 % 10], axis=-1)  # [B, C = 3] digits


def logits(model: nnx.Module) -> jax.Array:  # [B, 1, C, V = 10]; a model of words would be given the completions too
    return model(PROMPTS).reshape(len(PROMPTS), 1, 3, 10)


@nnx.jit
def update(model: nnx.Module, optimizer: nnx.Optimizer, key: jax.Array) -> jax.Array:
    ids = jax.random.categorical(key, logits(model), shape=(len(PROMPTS), 16, 3))  # [B, G = 16, C]
    rewards = jnp.mean(ids == ANSWERS[:, None], axis=-1)  # [B, G]
    advantages, _ = group_advantages(rewards, jnp.ones_like(rewards, bool))

    def loss_of(model: nnx.Module) -> jax.Array:
        logps = jnp.take_along_axis(jax.nn.log_softmax(logits(model)), ids[..., None], axis=-1)[..., 0]
        mask, settings = jnp.ones_like(logps, bool), GRPO(beta=0.0)
        return grpo_loss(logps, mask, advantages, settings=settings, sampler_logps=jax.lax.stop_gradient(logps))[0]

    optimizer.update(model, nnx.grad(loss_of)(model))
    return rewards.mean()


def train(updates: int) -> list[float]:
    """Trains for so many updates; the mean reward of each."""
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(nnx.Embed(len(PROMPTS), 64, rngs=rngs), nnx.Linear(64, 30, rngs=rngs))
    optimizer = nnx.Optimizer(model, optax.adam(0.02), wrt=nnx.Param)
    return [float(update(model, optimizer, jax.random.key(number))) for number in range(updates)]


if __name__ == "__main__":
    rewards = train(updates=200)
    print(f"mean reward: {rewards[0]:.2f} in the first update, {rewards[-1]:.2f} in the last")
