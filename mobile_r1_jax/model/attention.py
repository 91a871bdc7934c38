"""Attention for both towers: one function, one form of mask, and a kernel for each platform.

A query sees a token of K and V if their segments are equal. With `causal`, the token must not come after the query:

    patches in windows              one segment a window            not causal
    patches in whole screens        one segment a screen            not causal
    a prompt                        itself                          causal
    completions of a prompt         the prompt, then itself         causal
    the next token of each          the prompt, then itself         not causal: later columns have another segment

K and V come in parts: those of a prompt, and those of each completion. One softmax covers all parts. A part may be
shared by the group G; then all queries of the group see it. The last part belongs to the queries themselves. Example: a
group of two completions of two tokens (a, b), after a prompt of three tokens:

    query \\ K, V  p p p   a a   b b
    a             x x x   x
    a             x x x   x x
    b             x x x         x
    b             x x x         x x

The kernels are splash attention (Pallas) on a TPU, cuDNN's flash attention on a GPU in half precision, and plain XLA
matmuls everywhere else. Plain matmuls also serve short sequences (windows) and few queries (decoding).
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

MASKED = -1e30  # finite, so that a fully masked row gives no NaN
LANES = 128  # block sizes of splash attention are multiples of it
QUERY_BLOCK = 256  # queries per block of causal plain matmuls
LARGEST_BLOCK = 512  # most tokens in a block of splash attention, of queries and of K and V

Kernel = Literal["xla", "splash", "cudnn"]


class KV(NamedTuple):
    """Keys and values of attention, each [B, G, S, K, H]. G = 1 if the group shares them."""

    k: jax.Array
    v: jax.Array


def to_cache_layout(kv: KV) -> KV:
    """Return K and V [..., S, K, H] in the layout of a cache: k [..., K, H, S], v [..., K, S, H].

    Matmuls with one query at a time use this layout. From another one, a CPU would transpose the whole cache at every
    token."""
    return KV(jnp.moveaxis(kv.k, -3, -1), jnp.moveaxis(kv.v, -3, -2))


def from_cache_layout(cache: KV) -> KV:
    """Return K and V in the layout [..., S, K, H]: the inverse of `to_cache_layout`."""
    return KV(jnp.moveaxis(cache.k, -1, -3), jnp.moveaxis(cache.v, -2, -3))


def write_column(cache: KV, new: KV, column: jax.Array) -> KV:
    """Return the cache with K and V of one token, [..., 1, K, H], written at `column` []."""
    k, v = to_cache_layout(new)
    update = jax.lax.dynamic_update_slice_in_dim
    return KV(update(cache.k, k, column, axis=cache.k.ndim - 1), update(cache.v, v, column, axis=cache.v.ndim - 2))


class Segments(NamedTuple):
    """Segment ids, int32: [B, G, T] of the queries, [B, G, S] of each part of K and V. An axis of size 1 broadcasts.

    None for a part: the whole part has the queries' segment. All queries must then have the same segment."""

    queries: jax.Array
    kv: tuple[jax.Array | None, ...]


ONE_SEGMENT = np.ones((1, 1, 1), np.int32)  # for queries that all have the same segment


def kernel_for(platform: str) -> Kernel:
    """Return the kernel for a platform, named as by `jax.default_backend()`."""
    return {"tpu": "splash", "gpu": "cudnn"}.get(platform, "xla")


def attention(
    q: jax.Array, *parts: KV, segments: Segments | None = None, causal: bool = False, kernel: Kernel
) -> jax.Array:
    """Return the attention of queries to all parts of K and V. If K < N, attention is grouped-query.

    Args:
      q: [B, G, T, N, H].
      parts: K and V, [B, G, S, K, H] each. The last part belongs to the queries; if `causal`, it has their T tokens.
        All other parts come before all queries.
      segments: None if there is one segment only.
      kernel: the kernel to use if shapes and dtype allow it.

    Returns:
      [B, G, T, N, H]. The result of a query that sees nothing is finite and has no meaning.
    """
    lengths = [q.shape[2], *(part.k.shape[2] for part in parts)]
    if kernel == "splash" and q.shape[-1] >= LANES // 2 and not any(length % LANES for length in lengths):
        return _flat(_splash, q, parts, segments, causal)
    if kernel == "cudnn" and q.dtype.itemsize == 2 and q.shape[2] >= LANES:
        return _flat(_cudnn, q, parts, segments, causal)
    return _xla(q, parts, segments, causal)


def _xla(q: jax.Array, parts: Sequence[KV], segments: Segments | None, causal: bool) -> jax.Array:
    """Compute attention by plain matmuls.

    Causal attention within one sequence runs in blocks of queries. Each block reads K and V up to its last query only.
    This saves nearly half of the matmuls and keeps the score arrays small."""
    if not causal or segments is not None or len(parts) > 1:
        return _attend(q, parts, segments, 0 if causal else None)
    blocks = []
    for start in range(0, q.shape[2], QUERY_BLOCK):
        visible = jax.tree.map(lambda part, start=start: part[:, :, : start + QUERY_BLOCK], parts[0])
        blocks.append(_attend(q[:, :, start : start + QUERY_BLOCK], [visible], None, start))
    return jnp.concatenate(blocks, axis=2)


def _attend(q: jax.Array, parts: Sequence[KV], segments: Segments | None, offset: int | None) -> jax.Array:
    """Compute attention over all parts with one softmax.

    A part that the group shares is multiplied with all queries of the group at once. It is never repeated.

    Heads come before tokens, and K is transposed, [..., H, S]. So scores are never transposed: on a CPU
    that costs more than the matmuls. The softmax weights are normalised after the matmul with V, on a smaller array.

    offset: the number of tokens of the last part before the first query; None if attention is not causal.
    """
    kv_heads, width = parts[0].k.shape[3:]
    # [B, G, K, N / K, T, H]
    grouped = jnp.moveaxis((q * width**-0.5).reshape(*q.shape[:3], kv_heads, -1, width), 2, 4)
    scores, values = [], []
    for number, part in enumerate(parts):
        causal_mask = None
        if number == len(parts) - 1 and offset is not None:
            causal_mask = jnp.arange(part.k.shape[2]) <= offset + jnp.arange(q.shape[2])[:, None]
        visible = _visible(segments, number, causal_mask)
        k, v = jnp.moveaxis(part.k, 2, 4), jnp.moveaxis(part.v, 2, 3)
        if _shared(part, q):
            k, v = k[:, 0], v[:, 0]
            products = matmul_rows(_group_to_tokens(grouped), k, dtype=jnp.float32)
            visible = None if visible is None else visible[:, None, None]
        else:
            products = _matmul_members(grouped, k)
            visible = None if visible is None else visible[:, :, None, None]
        scores.append(products if visible is None else jnp.where(visible, products, MASKED))
        values.append(v)

    def group_first(x: jax.Array, part: KV) -> jax.Array:
        return jnp.moveaxis(x, 3, 1) if _shared(part, q) else x

    highest = [group_first(each.max(axis=-1), part) for each, part in zip(scores, parts, strict=True)]
    highest = jax.lax.stop_gradient(reduce(jnp.maximum, highest))
    total, out = 0.0, 0.0
    for part, each, v in zip(parts, scores, values, strict=True):
        weights = jnp.exp(each - (_group_to_tokens(highest) if _shared(part, q) else highest)[..., None])
        total += group_first(weights.sum(axis=-1), part)
        multiply = partial(matmul_rows, dtype=jnp.float32) if _shared(part, q) else _matmul_members
        out += group_first(multiply(weights.astype(q.dtype), v), part)
    return jnp.moveaxis(out / total[..., None], 4, 2).astype(q.dtype).reshape(q.shape)


def _matmul_members(x: jax.Array, y: jax.Array) -> jax.Array:
    """Return x [B, G, ...] times y [B, G, ...], with B and G as one axis.

    So a cache enters the matmul in its own layout. Otherwise XLA on a CPU writes a new token twice, into two copies of
    the cache."""
    product = matmul_rows(x.reshape(-1, *x.shape[2:]), y.reshape(-1, *y.shape[2:]), dtype=jnp.float32)
    return product.reshape(*x.shape[:2], *product.shape[1:])


def _shared(part: KV, q: jax.Array) -> bool:
    return part.k.shape[1] < q.shape[1]


def _group_to_tokens(x: jax.Array) -> jax.Array:
    """Move the group axis of [B, G, K, N / K, T, ...] next to the token axis: [B, K, N / K, G, T, ...]."""
    return jnp.moveaxis(x, 1, 3)


def _independent(q: jax.Array, parts: Sequence[KV]) -> bool:
    """Return whether the members of a group share no K and V. Then the group axis is a batch axis."""
    return len(parts) == 1 and parts[0].k.shape[1] == q.shape[1]


def _visible(segments: Segments | None, number: int, causal_mask: jax.Array | None) -> jax.Array | None:
    """Return which tokens of part `number` a query sees, as a bool that broadcasts to [B, G, T, S]; None for all."""
    part = None if segments is None else segments.kv[number]
    if part is None:
        return None if causal_mask is None else causal_mask[None, None]
    same = segments.queries[..., :, None] == part[..., None, :]
    return same if causal_mask is None else same & causal_mask


def _flat(kernel: Callable, q: jax.Array, parts: Sequence[KV], segments: Segments | None, causal: bool) -> jax.Array:
    """Call a kernel on flattened inputs: one axis of queries, one of K and V, a static mask, and segments.

    kernel: (q [B, T, N, H], k, v [B, S, K, H], mask [T, S] NumPy, segments [B, T] and [B, S] or None) -> as q.
    """
    batch, group, length = q.shape[:3]
    if _independent(q, parts):
        batch, group = batch * group, 1
    layout = tuple((part.k.shape[1] if group > 1 else 1, part.k.shape[2]) for part in parts)
    queries, *flat = (x.reshape(batch, -1, *x.shape[3:]) for x in (q, *(x for part in parts for x in part)))
    k, v = jnp.concatenate(flat[::2], axis=1), jnp.concatenate(flat[1::2], axis=1)
    ids = None
    if segments is not None:

        def row(segment: jax.Array | None, members: int, tokens: int) -> jax.Array:
            segment = segments.queries[..., :1] if segment is None else segment
            lead = q.shape[:2] if _independent(q, parts) else (batch, members)
            return jnp.broadcast_to(segment, (*lead, tokens)).reshape(batch, -1)

        kv = [row(segment, *size) for segment, size in zip(segments.kv, layout, strict=True)]
        ids = row(segments.queries, group, length), jnp.concatenate(kv, axis=1)
    return kernel(queries, k, v, _static_mask(group, length, layout, causal), ids).reshape(q.shape)


@lru_cache(maxsize=64)
def _static_mask(group: int, length: int, layout: tuple[tuple[int, int], ...], causal: bool) -> np.ndarray:
    """Return what queries see by their positions alone, bool [G * T, S]. layout: (members, tokens) of each part."""
    member, time = (axis.reshape(-1, 1) for axis in np.mgrid[:group, :length])
    visible = []
    for number, (members, tokens) in enumerate(layout):
        part_member, part_time = (axis.reshape(1, -1) for axis in np.mgrid[:members, :tokens])
        own = (part_member == member) | (members == 1)
        visible.append(own & (part_time <= time) if causal and number == len(layout) - 1 else own & (part_time >= 0))
    return np.concatenate([np.broadcast_to(part, (len(member), part.shape[1])) for part in visible], axis=1)


def _splash(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: np.ndarray, ids: tuple[jax.Array, jax.Array] | None
) -> jax.Array:
    """Compute attention by splash attention, which skips blocks that the mask leaves empty.

    On a mesh it runs under shard_map, split by rows and heads: the compiler cannot partition a Pallas kernel."""

    def local(q: jax.Array, k: jax.Array, v: jax.Array, *ids: jax.Array) -> jax.Array:
        queries, kv = (
            next(size for size in (LARGEST_BLOCK, 256, LANES) if length % size == 0) for length in mask.shape
        )
        sizes = splash.BlockSizes(
            block_q=queries,
            block_kv=kv,
            block_q_dkv=queries,
            block_kv_dkv=kv,
            block_q_dq=queries,
            block_kv_dq=kv,
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
    if k.shape[2] % mesh.shape["tensor"]:  # fewer key-value heads than devices: repeat them for every query head
        k, v = (jnp.repeat(x, q.shape[2] // k.shape[2], axis=2) for x in (k, v))
    rows = P(ROWS, None, "tensor")
    return jax.shard_map(
        local, in_specs=(rows, rows, rows, *(P(ROWS) for _ in ids or ())), out_specs=rows, check_vma=False
    )(q, k, v, *(ids or ()))


def _cudnn(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: np.ndarray, ids: tuple[jax.Array, jax.Array] | None
) -> jax.Array:
    """Compute attention by cuDNN. A plain causal mask becomes `is_causal`; any other mask is passed as [B, 1, T, S]."""
    if ids is None and mask.shape[0] == mask.shape[1] and (mask == np.tri(len(mask), dtype=bool)).all():
        return jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation="cudnn")
    visible = jnp.asarray(mask)[None] if ids is None else jnp.asarray(mask) & (ids[0][:, :, None] == ids[1][:, None])
    return jax.nn.dot_product_attention(q, k, v, mask=visible[:, None], implementation="cudnn")
