"""Sampling of completions: the prompt is computed once, then G rows decode together until all have stopped.

This module samples a complete batch. slots.py is for continuous batching. Both sample tokens with `draw`.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mobile_r1_jax.model.inputs import EncodedScreens, Prompts, Screens
from mobile_r1_jax.model.logps import adjust_logits
from mobile_r1_jax.model.policy import Cache, Policy
from mobile_r1_jax.sampling.truncation import truncate

BLOCK = 128  # tokens per partial sum of probabilities


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Sampling:
    """Settings of a sampler.

    All are static under jit except the temperature, so that greedy evaluation and sampling for training share one
    program. With top_p or top_k a token has two log-probabilities: `logps` under the whole distribution, which training
    recomputes and every ratio needs, and `truncated_logps` under the truncated distribution that it was drawn from.
    Raise ValueError for a top_p outside (0, 1] and for a top_k below 1.
    """

    max_tokens: int = field(default=256, metadata={"static": True})  # C
    temperature: float = 1.0  # 0 is greedy
    stop_ids: tuple[int, ...] = field(
        default=(), metadata={"static": True}
    )  # a completion ends with the first of these
    forbidden_ids: tuple[int, ...] = field(
        default=(), metadata={"static": True}
    )  # never sampled, such as vision tokens
    top_p: float = field(default=1.0, metadata={"static": True})  # mass of the likeliest tokens kept; 1 keeps all
    top_k: int | None = field(default=None, metadata={"static": True})  # how many are kept; None keeps all

    def __post_init__(self) -> None:
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must be above 0 and at most 1, which keeps every token")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k is {self.top_k}; it must be at least 1, or null to keep every token")

    @property
    def truncates(self) -> bool:
        return self.top_p < 1 or self.top_k is not None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Samples:
    """Sampled completions. A row was cut off at max_tokens if its last token is in the mask and is not a stop token."""

    ids: jax.Array  # [B, G, C] int32, the stop token included; 0 after it
    mask: jax.Array  # [B, G, C] bool; all False in rows of padding prompts
    logps: jax.Array  # [B, G, C] float32, equal to `token_logps` at the same temperature and forbidden ids
    truncated_logps: jax.Array | None = None  # [B, G, C] float32; None without top-p and top-k


class Drawn(NamedTuple):
    """A sampled token of every row, and its log-probabilities."""

    ids: jax.Array  # [...] int32
    logps: jax.Array  # [...] float32
    truncated_logps: jax.Array | None  # [...] float32; None without top-p and top-k


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Decoding:
    """The state of the decoding loop."""

    step: jax.Array  # [] int32: tokens sampled so far
    cache: Cache
    samples: Samples
    done: jax.Array  # [B, G] bool: has stopped


def member_keys(keys: jax.Array, group: int) -> jax.Array:
    """Return a PRNG key for each completion, [B, G], from the prompts' keys, [B]. A larger G keeps the first keys."""
    return jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))(keys, jnp.arange(group))


def draw_uniforms(keys: jax.Array, steps: jax.Array) -> jax.Array:
    """Return the random numbers for `draw`, [..., T] float32 in [0, 1); each depends only on a row's key and a step.

    They are computed before the decoding loop: within it, every step would run a separate loop.

    Args:
      keys: [...], from `member_keys`. steps: [..., T] int32, the number of tokens that the row has.
    """
    keys = jnp.broadcast_to(keys[..., None], steps.shape)
    uniform = jax.vmap(lambda key, step: jax.random.uniform(jax.random.fold_in(key, step)))(keys.ravel(), steps.ravel())
    return uniform.reshape(steps.shape)


def draw(policy: Policy, hidden: jax.Array, uniform: jax.Array, sampling: Sampling) -> Drawn:
    """Sample one token for every row, from the row's own hidden state and random number alone.

    Args:
      hidden: [..., D], final-normed. uniform: [...] float32 in [0, 1).
    """
    logits = adjust_logits(
        policy.text.logits(hidden), temperature=sampling.temperature, forbidden=sampling.forbidden_ids
    )
    kept = truncate(logits, top_p=sampling.top_p, top_k=sampling.top_k) if sampling.truncates else logits
    tokens = sample_inverse_cdf(kept, uniform, greedy=jnp.asarray(sampling.temperature == 0))

    def logps_under(logits: jax.Array) -> jax.Array:
        return jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0] - jax.nn.logsumexp(logits, axis=-1)

    truncated_logps = logps_under(kept) if sampling.truncates else None
    return Drawn(tokens, logps_under(logits), truncated_logps)


def sample_inverse_cdf(logits: jax.Array, uniform: jax.Array, *, greedy: jax.Array) -> jax.Array:
    """Return the token at which the cumulative sum of softmax(logits) exceeds `uniform`.

    This takes one random number per row; Gumbel noise would take one per token of the vocabulary. A token of
    probability 0 is never returned.

    Args:
      logits: [..., V]; uniform: [...] float32 in [0, 1); greedy: [] bool, return the first likeliest token instead.

    Returns:
      [...] int32.
    """
    highest = logits.max(axis=-1, keepdims=True)
    weights = jnp.where(greedy, (logits == highest).astype(jnp.float32), jnp.exp(logits - highest))
    uniform = jnp.where(greedy, 0.0, uniform)
    padding = -logits.shape[-1] % BLOCK
    weights = jnp.pad(weights, ((0, 0),) * (logits.ndim - 1) + ((0, padding),)).reshape(*uniform.shape, -1, BLOCK)
    # Find the block first, then the token in it: a sum over the whole vocabulary is slow and loses precision.
    sums = weights.sum(axis=-1)
    ends = jnp.cumsum(sums, axis=-1)
    target = uniform * ends[..., -1]
    block = jnp.sum(ends <= target[..., None], axis=-1)
    start = jnp.take_along_axis(ends - sums, block[..., None], axis=-1)[..., 0]
    within = jnp.cumsum(jnp.take_along_axis(weights, block[..., None, None], axis=-2)[..., 0, :], axis=-1)
    # Rounding may put the rest outside the block; clip it to the first or last weight.
    rest = jnp.clip(target - start, 0.0, within[..., -1] * (1 - jnp.finfo(jnp.float32).eps))
    return (block * BLOCK + jnp.sum(within <= rest[..., None], axis=-1)).astype(jnp.int32)


@partial(jax.jit, static_argnames="group")
def sample(
    policy: Policy,
    screens: Screens | EncodedScreens,
    prompts: Prompts,
    keys: jax.Array,
    *,
    group: int,
    sampling: Sampling,
) -> Samples:
    """Sample `group` completions of each prompt. Compile once per shape and setting; end when all have stopped.

    Args:
      keys: [B] of `jax.random.key`, one for each prompt. Except for rounding, the completions of a prompt depend on its
        own key and not on the other prompts of the batch.
      group: G.
    """
    row_keys = member_keys(keys, group)
    steps = jnp.broadcast_to(jnp.arange(sampling.max_tokens), (*row_keys.shape, sampling.max_tokens))
    uniform = draw_uniforms(row_keys, steps)

    def draw_next(state: _Decoding, hidden: jax.Array) -> _Decoding:
        """Sample the next token from hidden [B, G, D]."""
        drawn = draw(policy, hidden, uniform[:, :, state.step], sampling)
        going = ~state.done
        ids, *logps = jax.tree.map(lambda one: jnp.where(going, one, 0), drawn)
        drawn = Samples(ids, going, *logps)
        samples = jax.tree.map(lambda all_, one: all_.at[:, :, state.step].set(one), state.samples, drawn)
        stopped = jnp.isin(drawn.ids, jnp.array(sampling.stop_ids, jnp.int32))
        return _Decoding(state.step + 1, state.cache, samples, state.done | stopped)

    def advance(state: _Decoding) -> _Decoding:
        step = state.step - 1
        hidden, cache = policy.decode_step(state.cache, state.samples.ids[:, :, step], step)
        return draw_next(_Decoding(state.step, cache, state.samples, state.done), hidden)

    hidden, cache = policy.prefill(screens, prompts, group=group, max_tokens=sampling.max_tokens)
    shape = (hidden.shape[0], group, sampling.max_tokens)
    logps = jnp.zeros(shape, jnp.float32)
    nothing = Samples(jnp.zeros(shape, jnp.int32), jnp.zeros(shape, bool), logps, logps if sampling.truncates else None)
    padding = jnp.broadcast_to(~jnp.any(prompts.mask, axis=-1)[:, None], shape[:2])
    state = _Decoding(jnp.int32(0), cache, nothing, padding)
    state = draw_next(state, jnp.broadcast_to(hidden[:, None], (*shape[:2], hidden.shape[-1])))
    state = jax.lax.while_loop(lambda s: (s.step < sampling.max_tokens) & ~jnp.all(s.done), advance, state)
    return state.samples
