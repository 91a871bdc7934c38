"""The terms that a policy-gradient loss is made of, each a value per token.

All arguments are float [..., C] unless said otherwise and are log-probabilities in nats. Positions that don't count
must hold finite numbers: `grpo_loss` sees to that.

Ratios of probabilities are bounded: exp overflows in float32 above 88.7 nats, and an infinite ratio makes the whole
update infinite or NaN. Log ratios up to 20 nats are exact, larger ones count as 20 and have no gradient, as in verl.
"""

import jax
import jax.numpy as jnp

MAX_LOG_RATIO = 20.0  # of a log ratio; exp(20) is 4.9e8


@jax.jit
def probability_ratio(logps: jax.Array, other_logps: jax.Array) -> jax.Array:
    """Return `p / q`, at most exp(20): beyond that it is constant and has no gradient."""
    return jnp.exp(jnp.minimum(logps - other_logps, MAX_LOG_RATIO))


@jax.jit
def clipped_policy_loss(
    ratio: jax.Array, advantages: jax.Array, epsilon_low: float, epsilon_high: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """PPO's clipped surrogate `-min(ratio A, clip(ratio, 1 - low, 1 + high) A)` with a bound for either side.

    Args:
      ratio: [..., C], new probability over old.
      advantages: broadcastable to it.

    Returns:
      loss [..., C]; bool [..., C] where the low bound cut the gradient (A < 0); bool [..., C] where the high one did
      (A > 0).
    """
    clipped = jnp.clip(ratio, 1.0 - epsilon_low, 1.0 + epsilon_high)
    loss = -jnp.minimum(ratio * advantages, clipped * advantages)
    cut_low = (ratio < 1.0 - epsilon_low) & (advantages < 0)
    cut_high = (ratio > 1.0 + epsilon_high) & (advantages > 0)
    return loss, cut_low, cut_high


@jax.jit
def kl_k1(logps: jax.Array, reference_logps: jax.Array) -> jax.Array:
    """`log p - log q`: unbiased, of either sign. Good to watch; as a loss its expected gradient is zero on policy."""
    return logps - reference_logps


@jax.jit
def kl_k2(logps: jax.Array, reference_logps: jax.Array) -> jax.Array:
    """`(log p - log q)^2 / 2`: never negative, biased; on policy its gradient is the KL's own in expectation."""
    return 0.5 * jnp.square(logps - reference_logps)


@jax.jit
def kl_k3(logps: jax.Array, reference_logps: jax.Array) -> jax.Array:
    """`q/p - log(q/p) - 1`: unbiased and never negative; what GRPO and the kin code use.

    log(q/p) counts as at most 20 nats, so a token's value is at most 4.9e8. Beyond that it has no gradient.
    """
    difference = jnp.minimum(reference_logps - logps, MAX_LOG_RATIO)
    return jnp.exp(difference) - difference - 1.0


@jax.jit
def importance_weights(train_logps: jax.Array, sampler_logps: jax.Array, cap: float) -> jax.Array:
    """`min(p_train / p_sampler, cap)` without gradient: corrects for a sampler whose numbers are not the trainer's.

    sampler_logps: of what the tokens were drawn from; after top-p or top-k that is the truncated distribution."""
    return jax.lax.stop_gradient(jnp.minimum(jnp.exp(train_logps - sampler_logps), cap))
