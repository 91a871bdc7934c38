"""Attention, all of it: one function, one way to say what sees what, and the kernel that suits the machine.

A query sees a key where their segments are equal, and with `causal` where the key does not come after it:

    patches in windows              one segment a window            not causal
    patches in whole screens        one segment a screen            not causal
    a prompt                        itself                          causal
    completions of a prompt         the prompt, then itself         causal
    the next token of each          the prompt, then itself         not causal: what is to come is another segment

Keys come in parts, those of a prompt and those of each completion, and one softmax goes over all of them. A part may be
shared by the group G, whose queries then all see it; the last part is the queries' own. So a group of two completions
of two tokens (a, b), after a prompt of three:

    query \\ key   p p p   a a   b b
    a             x x x   x
    a             x x x   x x
    b             x x x         x
    b             x x x         x x

The kernels: splash attention (Pallas) on a TPU, cuDNN's flash attention on a GPU in half precision, XLA's own products
everywhere else, which is also where sequences are short (windows) or queries few (decoding).
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, reduce
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jax.sharding import PartitionSpec as P

MASKED = -1e30  # finite, so that a row that sees nothing gives no NaN
LANES = 128  # splash attention works in blocks of a multiple of it
LARGEST_BLOCK = 512  # tokens of queries and of keys in a block of splash attention

Kernel = Literal["xla", "splash", "cudnn"]


class Keys(NamedTuple):
    """Keys and values, alike: [B, G, S, K, H], G = 1 where the group shares them."""

    k: jax.Array
    v: jax.Array


class Segments(NamedTuple):
    """int32 [B, G, T] of the queries, and [B, G, S] of each part of the keys; an axis that is 1 stands for all.

    None for a part: all of it is of the queries' segment, of which there is then one."""

    queries: jax.Array
    keys: tuple[jax.Array | None, ...]


def kernel_for(platform: str) -> Kernel:
    """The kernel for a platform as `jax.default_backend()` names it."""
    return {"tpu": "splash", "gpu": "cudnn"}.get(platform, "xla")


def attention(
    q: jax.Array, *parts: Keys, segments: Segments | None = None, causal: bool = False, kernel: Kernel
) -> jax.Array:
    """Attention of queries to all the parts at once; grouped-query where keys have fewer heads.

    Args:
      q: [B, G, T, N, H].
      parts: the last one is the queries' own, [B, G, S, K, H], token by token where `causal` (then S = T); those before
        it come before all queries.
      segments: None where everything is of one.
      kernel: what to use where shapes and dtype allow it.

    Returns:
      [B, G, T, N, H]. A query that sees nothing has finite numbers without meaning.
    """
    lengths = [q.shape[2], *(part.k.shape[2] for part in parts)]
    if kernel == "splash" and q.shape[-1] >= LANES // 2 and not any(length % LANES for length in lengths):
        return _flat(_splash, q, parts, segments, causal)
    if kernel == "cudnn" and q.dtype.itemsize == 2 and q.shape[2] >= LANES:
        return _flat(_cudnn, q, parts, segments, causal)
    return _xla(q, parts, segments, causal)


def _xla(q: jax.Array, parts: Sequence[Keys], segments: Segments | None, causal: bool) -> jax.Array:
    """Plain products. A part that the group shares is multiplied with all its queries at once, and never repeated."""
    kv_heads, width = parts[0].k.shape[3:]
    grouped = (q * width**-0.5).reshape(*q.shape[:3], kv_heads, -1, width)
    seen = [_seen(segments, number, None) for number in range(len(parts) - 1)]
    in_time = jnp.tril(jnp.ones((q.shape[2], parts[-1].k.shape[2]), bool)) if causal else None
    seen.append(_seen(segments, len(parts) - 1, in_time))
    if _alone(q, parts):
        return _xla_alone(grouped, parts[0], seen[0]).reshape(q.shape)
    scores = []
    for part, visible in zip(parts, seen, strict=True):
        products = _products(grouped, part.k)
        scores.append(products if visible is None else jnp.where(visible[:, None, :, :, None], products, MASKED))
    highest = jax.lax.stop_gradient(reduce(jnp.maximum, [each.max(axis=-1, keepdims=True) for each in scores]))
    scores = [jnp.exp(each - highest) for each in scores]
    total = sum(each.sum(axis=-1, keepdims=True) for each in scores)
    out = [_summed((each / total).astype(q.dtype), part.v) for each, part in zip(scores, parts, strict=True)]
    return reduce(jnp.add, out).reshape(q.shape)


def _products(q: jax.Array, k: jax.Array) -> jax.Array:
    """q [B, G, T, K, N / K, H] with k [B, G or 1, S, K, H]: [B, K, G, T, N / K, S] float32."""
    if k.shape[1] != 1:
        return jnp.einsum("bgtkjh,bgskh->bkgtjs", q, k, preferred_element_type=jnp.float32)
    if q.shape[1] * q.shape[2] == 1:  # said without the axes of one, or a CPU moves the keys before it reads them
        products = jnp.einsum("bkjh,bskh->bkjs", q[:, 0, 0], k[:, 0], preferred_element_type=jnp.float32)
        return products[:, :, None, None]
    return jnp.einsum("bgtkjh,bskh->bkgtjs", q, k[:, 0], preferred_element_type=jnp.float32)


def _summed(weights: jax.Array, v: jax.Array) -> jax.Array:
    """weights [B, K, G, T, N / K, S] with v [B, G or 1, S, K, H]: [B, G, T, K, N / K, H]."""
    if v.shape[1] != 1:
        return jnp.einsum("bkgtjs,bgskh->bgtkjh", weights, v)
    if weights.shape[2] * weights.shape[3] == 1:
        return jnp.einsum("bkjs,bskh->bkjh", weights[:, :, 0, 0], v[:, 0])[:, None, None]
    return jnp.einsum("bkgtjs,bskh->bgtkjh", weights, v[:, 0])


def _alone(q: jax.Array, parts: Sequence[Keys]) -> bool:
    """Whether members of a group have nothing to do with each other: then they are rows like any."""
    return len(parts) == 1 and parts[0].k.shape[1] == q.shape[1]


def _xla_alone(q: jax.Array, keys: Keys, seen: jax.Array | None) -> jax.Array:
    """One part, [B, G, S, K, H], every query [B, G, T, K, N / K, H] among its own: [B, G, T, K, N / K, H]."""
    rows = q.shape[0] * q.shape[1]
    flat, k, v = (x.reshape(rows, *x.shape[2:]) for x in (q, *keys))
    # [B, K, T, N / K, S]: with the queries of one key head side by side, K = 1 needs no transposition at all.
    scores = jnp.einsum("btkjh,bskh->bktjs", flat, k, preferred_element_type=jnp.float32)
    if seen is not None:
        if seen.shape[:2] != (1, 1):
            seen = jnp.broadcast_to(seen, (*q.shape[:2], *seen.shape[2:]))
        scores = jnp.where(seen.reshape(-1, 1, seen.shape[2], 1, seen.shape[3]), scores, MASKED)
    weights = jax.nn.softmax(scores).astype(q.dtype)
    return jnp.einsum("bktjs,bskh->btkjh", weights, v).reshape(q.shape)


def _seen(segments: Segments | None, number: int, in_time: jax.Array | None) -> jax.Array | None:
    """[B, G, T, S], or what broadcasts to it: which keys of a part a query sees; None for all."""
    there = None if segments is None else segments.keys[number]
    if there is None:
        return None if in_time is None else in_time[None, None]
    same = segments.queries[..., :, None] == there[..., None, :]
    return same if in_time is None else same & in_time


def _flat(kernel: Callable, q: jax.Array, parts: Sequence[Keys], segments: Segments | None, causal: bool) -> jax.Array:
    """What a kernel takes for it: one row of queries, one of keys, a mask that is known now, and segments.

    kernel: (q [B, T, N, H], k, v [B, S, K, H], mask [T, S] NumPy, segments [B, T] and [B, S] or None) -> as q.
    """
    batch, group, length = q.shape[:3]
    if _alone(q, parts):
        batch, group = batch * group, 1
    layout = tuple((part.k.shape[1] if group > 1 else 1, part.k.shape[2]) for part in parts)
    queries, *flat = (x.reshape(batch, -1, *x.shape[3:]) for x in (q, *(x for part in parts for x in part)))
    k, v = jnp.concatenate(flat[::2], axis=1), jnp.concatenate(flat[1::2], axis=1)
    ids = None
    if segments is not None:

        def row(segment: jax.Array | None, members: int, tokens: int) -> jax.Array:
            segment = segments.queries[..., :1] if segment is None else segment
            lead = q.shape[:2] if _alone(q, parts) else (batch, members)
            return jnp.broadcast_to(segment, (*lead, tokens)).reshape(batch, -1)

        keys = [row(segment, *size) for segment, size in zip(segments.keys, layout, strict=True)]
        ids = row(segments.queries, group, length), jnp.concatenate(keys, axis=1)
    return kernel(queries, k, v, _arrangement(group, length, layout, causal), ids).reshape(q.shape)


@lru_cache(maxsize=64)
def _arrangement(group: int, length: int, layout: tuple[tuple[int, int], ...], causal: bool) -> np.ndarray:
    """[G * T, S] bool: what queries see by where they stand. layout: (members, tokens) of each part."""
    member, time = (axis.reshape(-1, 1) for axis in np.mgrid[:group, :length])
    seen = []
    for number, (members, tokens) in enumerate(layout):
        whose, when = (axis.reshape(1, -1) for axis in np.mgrid[:members, :tokens])
        mine = (whose == member) | (members == 1)
        seen.append(mine & (when <= time) if causal and number == len(layout) - 1 else mine & (when >= 0))
    return np.concatenate([np.broadcast_to(part, (len(member), part.shape[1])) for part in seen], axis=1)


def _splash(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: np.ndarray, ids: tuple[jax.Array, jax.Array] | None
) -> jax.Array:
    """Blocks that the mask leaves empty are not computed. On a mesh every device has its rows and its heads, since a
    Pallas kernel is not cut up by the compiler."""

    def local(q: jax.Array, k: jax.Array, v: jax.Array, *ids: jax.Array) -> jax.Array:
        queries, keys = (
            next(size for size in (LARGEST_BLOCK, 256, LANES) if length % size == 0) for length in mask.shape
        )
        sizes = splash.BlockSizes(
            block_q=queries,
            block_kv=keys,
            block_q_dkv=queries,
            block_kv_dkv=keys,
            block_q_dq=queries,
            block_kv_dq=keys,
        )
        one_head = masks.FullMask(mask.shape) if mask.all() else masks.NumpyMask(mask)
        kernel = splash.make_splash_mha(
            masks.MultiHeadMask([one_head] * q.shape[2]), block_sizes=sizes, head_shards=1, q_seq_shards=1
        )
        q, k, v = (jnp.moveaxis(x, 2, 1) for x in (q * q.shape[-1] ** -0.5, k, v))
        if ids:
            out = jax.vmap(lambda q, k, v, *ids: kernel(q, k, v, segment_ids=splash.SegmentIds(*ids)))(q, k, v, *ids)
        else:
            out = jax.vmap(kernel)(q, k, v)
        return jnp.moveaxis(out, 1, 2)

    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return local(q, k, v, *(ids or ()))
    if k.shape[2] % mesh.shape["tensor"]:  # fewer key heads than devices: each has those of its queries
        k, v = (jnp.repeat(x, q.shape[2] // k.shape[2], axis=2) for x in (k, v))
    rows = P("fsdp", None, "tensor")
    return jax.shard_map(
        local, in_specs=(rows, rows, rows, *(P("fsdp") for _ in ids or ())), out_specs=rows, check_vma=False
    )(q, k, v, *(ids or ()))


def _cudnn(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: np.ndarray, ids: tuple[jax.Array, jax.Array] | None
) -> jax.Array:
    """The mask as cuDNN's bias, [B, 1, T, S]; a prompt's is its causal one."""
    if ids is None and mask.shape[0] == mask.shape[1] and (mask == np.tri(len(mask), dtype=bool)).all():
        return jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation="cudnn")
    seen = jnp.asarray(mask)[None] if ids is None else jnp.asarray(mask) & (ids[0][:, :, None] == ids[1][:, None])
    return jax.nn.dot_product_attention(q, k, v, mask=seen[:, None], implementation="cudnn")
