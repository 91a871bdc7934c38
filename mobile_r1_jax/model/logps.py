"""Log-probabilities of tokens from hidden states, in chunks, so that no [B, T, V] array ever exists."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from mobile_r1_jax.model.policy import Policy

CHUNK_LOGITS = 2**25  # most logits in memory at once, per device: 128 MiB of float32
FORBIDDEN = -1e30  # a forbidden token's logit; finite, so that 0 * logit is 0 in the entropy


def adjust_logits(logits: jax.Array, *, temperature: float | jax.Array, forbidden: Sequence[int]) -> jax.Array:
    """Return the logits [..., V] for the softmax, in sampling and in training.

    Forbidden ids have probability 0 at any temperature. Temperature 0 means greedy sampling; its log-probabilities are
    those of temperature 1.
    """
    if forbidden:
        logits = logits.at[..., jnp.asarray(forbidden)].set(FORBIDDEN)
    return logits / jnp.where(jnp.asarray(temperature) > 0, temperature, 1.0)


def token_logps(
    policy: Policy, hidden: jax.Array, ids: jax.Array, *, temperature: float = 1.0, forbidden: Sequence[int] = ()
) -> tuple[jax.Array, jax.Array]:
    """Return the log-probabilities of `ids` and the entropies of their distributions, in nats.

    Args:
      hidden: [..., D] final-normed states that predict the ids.
      ids: [...] int32.
      temperature, forbidden: those of the sampler; static.

    Returns:
      logps [...] and entropies [...], float32.
    """

    def of_chunk(chunk: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        states, targets = chunk
        logits = policy.text.logits(states.reshape(-1, states.shape[-1]))  # rows in one axis, as in `RMSNorm`
        logps = jax.nn.log_softmax(adjust_logits(logits, temperature=temperature, forbidden=forbidden))
        chosen = jnp.take_along_axis(logps, targets.reshape(-1, 1), axis=-1)
        entropies = -jnp.sum(jnp.exp(logps) * logps, axis=-1)
        return chosen.reshape(targets.shape), entropies.reshape(targets.shape)

    # Chunks split tokens and not rows, so that a batch sharded by rows needs no communication.
    rows = ids.shape[0] if ids.ndim > 1 else 1
    hidden, flat = hidden.reshape(rows, -1, hidden.shape[-1]), ids.reshape(rows, -1)
    tokens = flat.shape[1]
    # Logits are split over the whole mesh. Each chunk gathers the output embedding again, so few chunks are better.
    mesh = jax.sharding.get_abstract_mesh()
    devices = 1 if mesh.empty else mesh.size
    chunk = max(1, CHUNK_LOGITS * devices // (rows * policy.config.text.vocab))
    if chunk >= tokens:
        logps, entropies = of_chunk((hidden, flat))
        return logps.reshape(ids.shape), entropies.reshape(ids.shape)
    chunks = -(-tokens // chunk)
    pad = chunks * chunk - tokens

    def split(x: jax.Array) -> jax.Array:
        x = jnp.pad(x, ((0, 0), (0, pad), *(((0, 0),) * (x.ndim - 2))))
        return jnp.moveaxis(x.reshape(rows, chunks, chunk, *x.shape[2:]), 1, 0)

    logps, entropies = jax.lax.map(jax.checkpoint(of_chunk), (split(hidden), split(flat)))
    logps, entropies = (
        jnp.moveaxis(x, 0, 1).reshape(rows, -1)[:, :tokens].reshape(ids.shape) for x in (logps, entropies)
    )
    return logps, entropies
