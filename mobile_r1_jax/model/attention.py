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
from functools import lru_cache, partial, reduce
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jax.sharding import PartitionSpec as P

from mobile_r1_jax.model.layers import ROWS, matmul_rows

MASKED = -1e30  # finite, so that a row that sees nothing gives no NaN
LANES = 128  # splash attention works in blocks of a multiple of it
QUERY_BLOCK = 256  # queries that plain products take at once, where they are causal
LARGEST_BLOCK = 512  # tokens of queries and of keys in a block of splash attention

Kernel = Literal["xla", "splash", "cudnn"]


class KV(NamedTuple):
    """Keys and values, alike: [B, G, S, K, H], G = 1 where the group shares them."""

    k: jax.Array
    v: jax.Array


def to_cache_layout(keys: KV) -> KV:
    """Keys and values [..., S, K, H] as they lie in a cache, for products with one query at a time: k [..., K, H, S],
    v [..., K, S, H]. Laid out otherwise, a CPU would put the whole cache into this order at every token."""
    return KV(jnp.moveaxis(keys.k, -3, -1), jnp.moveaxis(keys.v, -3, -2))


def from_cache_layout(cache: KV) -> KV:
    """The other way."""
    return KV(jnp.moveaxis(cache.k, -1, -3), jnp.moveaxis(cache.v, -2, -3))


def write_column(cache: KV, new: KV, column: jax.Array) -> KV:
    """The cache with one token's keys, [..., 1, K, H], at `column` []."""
    k, v = to_cache_layout(new)
    put = jax.lax.dynamic_update_slice_in_dim
    return KV(put(cache.k, k, column, axis=cache.k.ndim - 1), put(cache.v, v, column, axis=cache.v.ndim - 2))


class Segments(NamedTuple):
    """int32 [B, G, T] of the queries, and [B, G, S] of each part of the keys; an axis that is 1 stands for all.

    None for a part: all of it is of the queries' segment, of which there is then one."""

    queries: jax.Array
    keys: tuple[jax.Array | None, ...]


ONE_SEGMENT = np.ones((1, 1, 1), np.int32)  # the segment of queries that are all of one


def kernel_for(platform: str) -> Kernel:
    """The kernel for a platform as `jax.default_backend()` names it."""
    return {"tpu": "splash", "gpu": "cudnn"}.get(platform, "xla")


def attention(
    q: jax.Array, *parts: KV, segments: Segments | None = None, causal: bool = False, kernel: Kernel
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


def _xla(q: jax.Array, parts: Sequence[KV], segments: Segments | None, causal: bool) -> jax.Array:
    """Plain products. A sequence that sees itself alone goes block by block of queries, each with no more keys than its
    last query sees: nearly half the products are not made, and what is in between stays small."""
    if not causal or segments is not None or len(parts) > 1:
        return _products(q, parts, segments, 0 if causal else None)
    blocks = []
    for start in range(0, q.shape[2], QUERY_BLOCK):
        seen = jax.tree.map(lambda part, start=start: part[:, :, : start + QUERY_BLOCK], parts[0])
        blocks.append(_products(q[:, :, start : start + QUERY_BLOCK], [seen], None, start))
    return jnp.concatenate(blocks, axis=2)


def _products(q: jax.Array, parts: Sequence[KV], segments: Segments | None, before: int | None) -> jax.Array:
    """A part that the group shares is multiplied with all its queries at once, and never repeated.

    Heads stand before tokens and keys lie across, [..., H, S], so that no score is ever put into another order: on a
    CPU that costs more than the products. Weights are divided by their sum after the product, where they are few.

    before: how many keys of the last part come before the first query, where it is causal.
    """
    kv_heads, width = parts[0].k.shape[3:]
    # [B, G, K, N / K, T, H]
    grouped = jnp.moveaxis((q * width**-0.5).reshape(*q.shape[:3], kv_heads, -1, width), 2, 4)
    scores, values = [], []
    for number, part in enumerate(parts):
        in_time = None
        if number == len(parts) - 1 and before is not None:
            in_time = jnp.arange(part.k.shape[2]) <= before + jnp.arange(q.shape[2])[:, None]
        visible = _seen(segments, number, in_time)
        k, v = jnp.moveaxis(part.k, 2, 4), jnp.moveaxis(part.v, 2, 3)
        if _shared(part, q):
            k, v = k[:, 0], v[:, 0]
            products = matmul_rows(_beside(grouped), k, dtype=jnp.float32)
            visible = None if visible is None else visible[:, None, None]
        else:
            products = _each_times(grouped, k)
            visible = None if visible is None else visible[:, :, None, None]
        scores.append(products if visible is None else jnp.where(visible, products, MASKED))
        values.append(v)

    def of_members(x: jax.Array, part: KV) -> jax.Array:
        return jnp.moveaxis(x, 3, 1) if _shared(part, q) else x

    highest = [of_members(each.max(axis=-1), part) for each, part in zip(scores, parts, strict=True)]
    highest = jax.lax.stop_gradient(reduce(jnp.maximum, highest))
    total, out = 0.0, 0.0
    for part, each, v in zip(parts, scores, values, strict=True):
        weights = jnp.exp(each - (_beside(highest) if _shared(part, q) else highest)[..., None])
        total += of_members(weights.sum(axis=-1), part)
        times = partial(matmul_rows, dtype=jnp.float32) if _shared(part, q) else _each_times
        out += of_members(times(weights.astype(q.dtype), v), part)
    return jnp.moveaxis(out / total[..., None], 4, 2).astype(q.dtype).reshape(q.shape)


def _each_times(x: jax.Array, y: jax.Array) -> jax.Array:
    """[B, G, ...] times [B, G, ...], as B * G: so the keys of a cache come to the product just as they lie in it. Else
    XLA on a CPU writes a new token twice, into two copies of the cache."""
    product = matmul_rows(x.reshape(-1, *x.shape[2:]), y.reshape(-1, *y.shape[2:]), dtype=jnp.float32)
    return product.reshape(*x.shape[:2], *product.shape[1:])


def _shared(part: KV, q: jax.Array) -> bool:
    return part.k.shape[1] < q.shape[1]


def _beside(x: jax.Array) -> jax.Array:
    """[B, G, K, N / K, T, ...] with the queries of a prompt's members side by side: [B, K, N / K, G, T, ...]."""
    return jnp.moveaxis(x, 1, 3)


def _alone(q: jax.Array, parts: Sequence[KV]) -> bool:
    """Whether members of a group have nothing to do with each other: then they are rows like any."""
    return len(parts) == 1 and parts[0].k.shape[1] == q.shape[1]


def _seen(segments: Segments | None, number: int, in_time: jax.Array | None) -> jax.Array | None:
    """[B, G, T, S], or what broadcasts to it: which keys of a part a query sees; None for all."""
    there = None if segments is None else segments.keys[number]
    if there is None:
        return None if in_time is None else in_time[None, None]
    same = segments.queries[..., :, None] == there[..., None, :]
    return same if in_time is None else same & in_time


def _flat(kernel: Callable, q: jax.Array, parts: Sequence[KV], segments: Segments | None, causal: bool) -> jax.Array:
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
    rows = P(ROWS, None, "tensor")
    return jax.shard_map(
        local, in_specs=(rows, rows, rows, *(P(ROWS) for _ in ids or ())), out_specs=rows, check_vma=False
    )(q, k, v, *(ids or ()))


def _cudnn(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: np.ndarray, ids: tuple[jax.Array, jax.Array] | None
) -> jax.Array:
    """The mask as cuDNN's bias, [B, 1, T, S]; a prompt's is its causal one."""
    if ids is None and mask.shape[0] == mask.shape[1] and (mask == np.tri(len(mask), dtype=bool)).all():
        return jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation="cudnn")
    seen = jnp.asarray(mask)[None] if ids is None else jnp.asarray(mask) & (ids[0][:, :, None] == ids[1][:, None])
    return jax.nn.dot_product_attention(q, k, v, mask=seen[:, None], implementation="cudnn")
