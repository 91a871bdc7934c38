"""Slots for continuous batching: rows that decode together, each at its own position in its own completion.

    slot 0  [prompt: 200 tokens ..........] [own: 11 tokens ....]   decodes its 12th token
    slot 1  [prompt: 131 tokens ......    ] [                   ]   was just filled
    slot 2  [                             ] [                   ]   free

Two programs work on the slots. `fill` computes prompts and puts them into free slots. `decode` samples up to T tokens
for every active slot. Both donate the slots, so the caches are updated in place.

A row does not depend on the other rows. Column n holds the keys and values of the n-th completion token. The columns
of the completion are summed before those of the prompt, so the padding of a prompt adds zeros at the end. One program
samples every token of all slots, also the first. Only rounding can differ: a longer prompt in another slot makes the
products wider, and the compiler may then sum them in another order.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from mobile_r1_jax.model.attention import KV, ONE_SEGMENT, Segments, attention, from_cache_layout
from mobile_r1_jax.model.inputs import EncodedScreens, Prompts, Screens
from mobile_r1_jax.model.policy import Policy
from mobile_r1_jax.model.rotary import Rotation
from mobile_r1_jax.model.text import LayerKV, TextModel, add_group_axis
from mobile_r1_jax.sampling.sampler import Drawn, Sampling, draw, draw_uniforms


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Slots:
    """R slots. Each layer has its own arrays, so that its cache is updated in place."""

    prompt: LayerKV  # KV cache of the prompt, per layer: k [R, K, H, P], v [R, K, P, H]
    own: LayerKV  # KV cache of the completion, per layer: k [R, K, H, C], v [R, K, C, H]
    length: jax.Array  # [R] int32: tokens in the prompt
    start: jax.Array  # [R] int32: position of the first completion token, on all three axes
    keys: jax.Array  # [R] PRNG keys
    hidden: jax.Array  # [R, D]: hidden state that predicts the first token
    drawn: jax.Array  # [R] int32: tokens drawn so far
    token: jax.Array  # [R] int32: the last token drawn
    done: jax.Array  # [R] bool: the slot has stopped or is free
    sharding: NamedSharding | None = field(default=None, metadata={"static": True})  # of rows: see `slot_shardings`


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Chunk:
    """The tokens of one call of `decode`: the first token of a new completion, then at most T tokens for each slot."""

    ids: jax.Array  # [1 + T, R] int32
    logps: jax.Array  # [1 + T, R] float32
    mask: jax.Array  # [1 + T, R] bool: a token was drawn
    steps: jax.Array  # [] int32: how many of the T steps were computed
    truncated_logps: jax.Array | None = None  # [1 + T, R] float32; None without top-p and top-k


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ReusedPrefixes:
    """The slots that hold the first tokens of B prompts in their KV cache. A padding row reuses 0 tokens."""

    slot: jax.Array  # [B] int32
    tokens: jax.Array  # [B] int32


@partial(jax.jit, static_argnames=("rows", "prompt_tokens", "own_tokens", "sharding"))
def empty_slots(
    policy: Policy, *, rows: int, prompt_tokens: int, own_tokens: int, sharding: NamedSharding | None = None
) -> Slots:
    """Return R = rows free slots with room for prompts of P and completions of C tokens.

    sharding: of the rows over a mesh; None for a single device.
    """
    config = policy.config.text

    def room(columns: int) -> LayerKV:
        k = jnp.zeros((rows, config.kv_heads, config.head_width, columns), policy.text.dtype)
        return tuple(KV(k, jnp.moveaxis(k, -1, -2)) for _ in range(config.layers))

    zeros = jnp.zeros(rows, jnp.int32)
    slots = Slots(
        prompt=room(prompt_tokens),
        own=room(own_tokens),
        length=zeros,
        start=zeros,
        keys=jax.vmap(jax.random.key)(zeros),
        hidden=jnp.zeros((rows, config.width), policy.text.dtype),
        drawn=zeros,
        token=zeros,
        done=jnp.ones(rows, bool),
        sharding=sharding,
    )
    return _keep_sharding(slots)


@partial(jax.jit, donate_argnames="slots")
def fill(
    policy: Policy,
    slots: Slots,
    screens: Screens | EncodedScreens,
    prompts: Prompts,
    seeds: jax.Array,
    members: jax.Array,
    targets: jax.Array,
    prefixes: ReusedPrefixes | None = None,
) -> Slots:
    """Compute each prompt once and put it into the G slots of its completions.

    Args:
      prompts: without the first tokens that `prefixes` reuses from slots.
      seeds, members: [B, G] uint32, which give the PRNG keys: `member_keys` of a seed's key.
      targets: [B, G] int32, each slot at most once; R, which is not a slot, for padding.
    """
    before = None if prefixes is None else _gather_prefix(slots, prefixes)
    hidden, cache = policy.prefill(screens, prompts, group=1, max_tokens=1, prefix=before)
    batch, group = targets.shape
    keys = jax.vmap(lambda seed, member: jax.random.fold_in(jax.random.key(seed), member))(
        seeds.ravel(), members.ravel()
    )
    where, source = targets.reshape(-1), jnp.repeat(jnp.arange(batch), group)
    length = prompts.mask.sum(-1, dtype=jnp.int32)
    computed = cache.prompt
    if before is not None:
        computed = _join_prefix(before[0], computed, prefixes.tokens)
        length += prefixes.tokens

    def put(old: jax.Array, new: jax.Array) -> jax.Array:
        return old.at[where].set(new, mode="drop")

    def put_kv(old: KV, new: KV) -> KV:
        """Write one layer: `new` has B rows and P' <= P columns."""
        k, v = (part[source] for part in new)
        columns = v.shape[2]
        return KV(old.k.at[where, :, :, :columns].set(k, mode="drop"), old.v.at[where, :, :columns].set(v, mode="drop"))

    prompt = tuple(put_kv(old, new) for old, new in zip(slots.prompt, computed, strict=True))
    filled = replace(
        slots,
        prompt=prompt,
        length=put(slots.length, length[source]),
        start=put(slots.start, cache.start[source]),
        keys=put(slots.keys, keys),
        hidden=put(slots.hidden, hidden[source]),
        drawn=put(slots.drawn, jnp.zeros_like(where)),
        done=put(slots.done, jnp.zeros(where.shape, bool)),
    )
    return _keep_sharding(filled)


def _gather_prefix(slots: Slots, prefixes: ReusedPrefixes) -> tuple[KV, jax.Array]:
    """Return the KV cache of all layers, k [L, B, K, H, P], v [L, B, K, P, H], and the prefixes' mask [B, P]."""
    layers = [jax.tree.map(lambda part: part[prefixes.slot], keys) for keys in slots.prompt]
    keys = jax.tree.map(lambda *parts: jnp.stack(parts), *layers)
    return keys, jnp.arange(keys.k.shape[-1]) < prefixes.tokens[:, None]


def _join_prefix(before: KV, rest: LayerKV, tokens: jax.Array) -> LayerKV:
    """Return the first `tokens` [B] columns of `before`, which is stacked over layers, followed by those of `rest`."""
    columns = jnp.arange(before.k.shape[-1]) - tokens[:, None]
    place = jnp.clip(columns, 0, rest[0].k.shape[-1] - 1)
    first = columns < 0

    def of_layer(first_k: jax.Array, first_v: jax.Array, rest: KV) -> KV:
        k = jnp.take_along_axis(rest.k, place[:, None, None, :], axis=-1)
        v = jnp.take_along_axis(rest.v, place[:, None, :, None], axis=-2)
        return KV(jnp.where(first[:, None, None], first_k, k), jnp.where(first[:, None, :, None], first_v, v))

    return tuple(map(of_layer, *before, rest))


@partial(jax.jit, donate_argnames="slots", static_argnames="tokens")
def decode(
    policy: Policy, slots: Slots, wanted: jax.Array, columns: jax.Array, sampling: Sampling, *, tokens: int
) -> tuple[Slots, Chunk]:
    """Sample up to T = tokens tokens for every active slot; end when no slot is active.

    Args:
      wanted: [R] bool; a slot that is not wanted stops here.
      columns: int32 0, 1, 2 .. P' - 1; only these columns are read. No active slot has a prompt of more than P' tokens.
    """
    slots = replace(slots, done=slots.done | ~wanted)
    prompt = tuple(KV(k[..., : len(columns)], v[:, :, : len(columns)]) for k, v in slots.prompt)
    shape = (1 + tokens, slots.done.shape[0])

    began, column = slots.drawn, _last_column(slots)
    uniform = draw_uniforms(slots.keys, began[:, None] + jnp.arange(1 + tokens))
    rotations = policy.text.rotation_from(slots.start + column, 1 + tokens)

    def draw_next(slots: Slots, hidden: jax.Array) -> Drawn:
        return draw(policy, hidden, _select(uniform, slots.drawn - began), sampling)

    def record(slots: Slots, chunk: Chunk, going: jax.Array, new: Drawn) -> tuple[Slots, Chunk]:
        drawn = slots.drawn + going
        stopped = jnp.isin(new.ids, jnp.array(sampling.stop_ids, jnp.int32)) | (drawn >= sampling.max_tokens)
        ids, logps, truncated_logps, mask = jax.tree.map(
            lambda all_, line: all_.at[chunk.steps].set(line),
            (chunk.ids, chunk.logps, chunk.truncated_logps, chunk.mask),
            (*new, going),
        )
        token = jnp.where(going, new.ids, slots.token)
        slots = replace(slots, drawn=drawn, token=token, done=slots.done | (going & stopped))
        return slots, Chunk(ids, logps, mask, chunk.steps, truncated_logps)

    def advance(state: tuple[Slots, Chunk]) -> tuple[Slots, Chunk]:
        slots, chunk = state
        last = _last_column(slots)
        rotation = jax.tree.map(lambda part: _select(part, last - column)[:, None], rotations)
        hidden, own = _decode_step(policy.text, slots, prompt, columns, last, rotation)
        slots, chunk = replace(slots, own=own), replace(chunk, steps=chunk.steps + 1)
        return record(slots, chunk, ~slots.done, draw_next(slots, hidden))

    new = ~slots.done & (slots.drawn == 0)
    logps = jnp.zeros(shape, jnp.float32)
    truncated_logps = logps if sampling.truncates else None
    chunk = Chunk(jnp.zeros(shape, jnp.int32), logps, jnp.zeros(shape, bool), jnp.int32(0), truncated_logps)
    nothing = jax.tree.map(lambda lines: lines[0], Drawn(chunk.ids, logps, truncated_logps))
    first = jax.lax.cond(jnp.any(new), lambda: draw_next(slots, slots.hidden), lambda: nothing)
    slots, chunk = jax.lax.while_loop(
        lambda state: (state[1].steps < tokens) & ~jnp.all(state[0].done), advance, record(slots, chunk, new, first)
    )
    return _keep_sharding(slots), chunk


def _last_column(slots: Slots) -> jax.Array:
    """Return the column [R] of the last token in each completion; 0 for a slot that was never filled."""
    return jnp.maximum(slots.drawn - 1, 0)


def _select(x: jax.Array, number: jax.Array) -> jax.Array:
    """Return x[r, number[r]] for every row r of x [R, T, ...]: [R, ...]."""
    return x[jnp.arange(len(number)), number]


def _decode_step(
    text: TextModel, slots: Slots, prompt: LayerKV, columns: jax.Array, column: jax.Array, rotation: Rotation
) -> tuple[jax.Array, LayerKV]:
    """Feed every slot's last token, which is in column [R] of its completion.

    Return the hidden states [R, D] that predict the next token, and the updated caches of the completions.
    """
    rows = column.shape[0]
    seen_own = jnp.arange(slots.own[0].v.shape[2]) <= column[:, None]
    seen_prompt = columns < slots.length[:, None]
    there = tuple(seen[:, None].astype(jnp.int32) for seen in (seen_own, seen_prompt))
    segments = Segments(ONE_SEGMENT, there)

    def attend(q: jax.Array, new: KV, prompt: KV, own: KV) -> tuple[jax.Array, KV]:
        each, (k, v) = jnp.arange(rows), (part[:, 0] for part in new)
        own = KV(own.k.at[each, :, :, column].set(k), own.v.at[each, :, column].set(v))
        parts = add_group_axis(from_cache_layout(own)), add_group_axis(from_cache_layout(prompt))
        return attention(q[:, None], *parts, segments=segments, kernel=text.kernel), own

    hidden, own = text.run_new_tokens(text.embed(slots.token)[:, None], rotation, attend, prompt, slots.own)
    return hidden[:, 0], own


def slot_shardings(slots: Slots) -> Slots:
    """Return the sharding of every array of slots that have a `sharding`.

    Rows are split as `sharding` says. The K heads of the caches are also split over "tensor" if it divides them: a
    device needs the keys and values of its own heads only.
    """
    rows = slots.sharding

    def of_cache(array: jax.Array) -> NamedSharding:
        tensor = None if array.shape[1] % rows.mesh.shape["tensor"] else "tensor"
        return NamedSharding(rows.mesh, PartitionSpec(*rows.spec, tensor))

    caches = jax.tree.map(of_cache, (slots.prompt, slots.own))
    rest = jax.tree.map(lambda _: rows, slots)
    return replace(rest, prompt=caches[0], own=caches[1])


def _keep_sharding(slots: Slots) -> Slots:
    """Constrain the sharding of the slots. Otherwise the compiler may choose another one, which needs new programs."""
    if slots.sharding is None:
        return slots
    return jax.tree.map(jax.lax.with_sharding_constraint, slots, slot_shardings(slots))
