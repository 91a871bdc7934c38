"""The terms of a policy-gradient loss, one value per token each.

Unless said otherwise, all arguments are float [..., C], log-probabilities in nats. Masked positions must hold finite
numbers; `grpo_loss` ensures this.

Ratios of probabilities are bounded. In float32, exp overflows above 88.7 nats, and one infinite ratio makes the whole
update infinite or NaN. Log ratios up to 20 nats are exact; larger ones count as 20 and have no gradient, as in verl.
"""

import jax
import jax.numpy as jnp

MAX_LOG_RATIO = 20.0  # nats; exp(20) is 4.9e8


@jax.jit
def probability_ratio(logps: jax.Array, other_logps: jax.Array) -> jax.Array:
    """Return `p / q`, at most exp(20); above, it is constant and has no gradient."""
    return jnp.exp(jnp.minimum(logps - other_logps, MAX_LOG_RATIO))


@jax.jit
def clipped_policy_loss(
    ratio: jax.Array, advantages: jax.Array, epsilon_low: float, epsilon_high: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return PPO's clipped surrogate `-min(ratio A, clip(ratio, 1 - low, 1 + high) A)`, with one bound for each side.

    Args:
      ratio: [..., C], new probability over old.
      advantages: broadcastable to it.

    Returns:
      loss [..., C]; bool [..., C], True where the low bound cuts the gradient (A < 0); bool [..., C], True where the
      high bound cuts it (A > 0).
    """
    clipped = jnp.clip(ratio, 1.0 - epsilon_low, 1.0 + epsilon_high)
    loss = -jnp.minimum(ratio * advantages, clipped * advantages)
    cut_low = (ratio < 1.0 - epsilon_low) & (advantages < 0)
    cut_high = (ratio > 1.0 + epsilon_high) & (advantages > 0)
    return loss, cut_low, cut_high


@jax.jit
def kl_k1(logps: jax.Array, reference_logps: jax.Array) -> jax.Array:
    """Return `log p - log q`: unbiased, of either sign. As a loss, its expected gradient on policy is 0."""
    return logps - reference_logps


@jax.jit
def kl_k2(logps: jax.Array, reference_logps: jax.Array) -> jax.Array:
    """Return `(log p - log q)^2 / 2`: never negative, biased. On policy, its expected gradient is that of the KL."""
    return 0.5 * jnp.square(logps - reference_logps)


@jax.jit
def kl_k3(logps: jax.Array, reference_logps: jax.Array) -> jax.Array:
    """Return `q/p - log(q/p) - 1`: unbiased and never negative. GRPO and the kin code use it.

    log(q/p) counts as at most 20 nats, so the value of a token is at most 4.9e8. Above, it has no gradient.
    """
    difference = jnp.minimum(reference_logps - logps, MAX_LOG_RATIO)
    return jnp.exp(difference) - difference - 1.0


@jax.jit
def importance_weights(train_logps: jax.Array, sampler_logps: jax.Array, cap: float) -> jax.Array:
    """Return `min(p_train / p_sampler, cap)`, without gradient. It corrects the difference of sampler and trainer.

    sampler_logps: under the distribution of the draws; after top-p or top-k, that is the truncated distribution."""
    return jax.lax.stop_gradient(jnp.minimum(jnp.exp(train_logps - sampler_logps), cap))
