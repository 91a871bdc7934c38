"""Top-k and top-p: truncation of a distribution's tail."""

import jax
import jax.numpy as jnp

from mobile_r1_jax.model.logps import FORBIDDEN


def truncate(logits: jax.Array, *, top_p: float, top_k: int | None) -> jax.Array:
    """Return the logits [..., V] float32 of the truncated distribution, from logits at the sampling temperature.

    Removed tokens get `FORBIDDEN`. Top-k keeps the k likeliest tokens (Fan et al. 2018). Top-p then renormalises these
    and keeps the smallest set of likeliest tokens with a mass of at least p (nucleus sampling, Holtzman et al. 2020).
    This is the order of vLLM and `transformers`. The likeliest token is always kept, and so are all tokens with the
    same probability as the last one kept.

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
