"""GRPO on a model of another project: a small Flax network learns the squares of numbers from rewards alone.

python examples/rl_on_a_toy.py
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from mobile_r1_jax.rl import GRPO, group_advantages, grpo_loss

PROMPTS = jnp.arange(32)  # [B]
ANSWERS = jnp.stack([PROMPTS**2 // 100, PROMPTS**2 // 10 % 10, PROMPTS**2 % 10], axis=-1)  # [B, C = 3] digits


@nnx.jit
def update(model: nnx.Module, optimizer: nnx.Optimizer, key: jax.Array) -> jax.Array:
    def logps_of(model: nnx.Module) -> jax.Array:  # [B, G, C]; a language model would also take the completions
        logps = jax.nn.log_softmax(model(PROMPTS).reshape(-1, 1, 3, 10))
        return jnp.take_along_axis(logps, ids[..., None], axis=-1)[..., 0]

    ids = jax.random.categorical(key, model(PROMPTS).reshape(-1, 1, 3, 10), shape=(32, 16, 3))  # [B, G = 16, C]
    rewards, mask = jnp.mean(ids == ANSWERS[:, None], axis=-1), jnp.ones_like(ids, bool)  # [B, G], [B, G, C]
    advantages, _ = group_advantages(rewards, mask[..., 0])
    batch = {"sampler_logps": logps_of(model), "settings": GRPO(beta=0.0)}
    gradients = nnx.grad(lambda model: grpo_loss(logps_of(model), mask, advantages, **batch)[0])(model)
    optimizer.update(model, gradients)
    return rewards.mean()


def train(updates: int) -> list[float]:
    """Train for `updates` updates and return the mean reward of each."""
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(nnx.Embed(len(PROMPTS), 64, rngs=rngs), nnx.Linear(64, 30, rngs=rngs))
    optimizer = nnx.Optimizer(model, optax.adam(0.02), wrt=nnx.Param)
    return [float(update(model, optimizer, jax.random.key(number))) for number in range(updates)]


if __name__ == "__main__":
    rewards = train(updates=200)
    print(f"mean reward: {rewards[0]:.2f} in the first update, {rewards[-1]:.2f} in the last")
