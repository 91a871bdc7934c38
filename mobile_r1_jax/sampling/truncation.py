"""Top-k and top-p: what is left of a distribution once its tail is cut off."""

import jax
import jax.numpy as jnp

from mobile_r1_jax.model.logps import FORBIDDEN


def truncate(logits: jax.Array, *, top_p: float, top_k: int | None) -> jax.Array:
    """The logits [..., V] float32, at the sampling temperature, of the truncated distribution: those that are cut off
    get `FORBIDDEN`, the softmax gives their probability to the rest.

    First the k likeliest tokens are kept (Fan et al. 2018), then of these, renormalised, the fewest likeliest ones that
    hold a mass of at least p (the nucleus, Holtzman et al. 2020): the order of vLLM and `transformers`. The likeliest
    token is always kept, and so is whatever is exactly as likely as the last one kept.

    Args:
      top_p: above 0, at most 1; 1 cuts nothing. top_k: at least 1; None cuts nothing. Both static.
    """
    vocab = logits.shape[-1]
    highest, _ = jax.lax.top_k(logits, vocab if top_k is None else min(top_k, vocab))
    least = highest[..., -1:]
    if top_p < 1:
        probabilities = jax.nn.softmax(highest)
        above = jnp.cumsum(probabilities, axis=-1) - probabilities  # mass of the tokens before each
        least = jnp.min(jnp.where(above < top_p, highest, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits >= least, logits, FORBIDDEN)
