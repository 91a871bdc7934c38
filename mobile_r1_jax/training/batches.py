"""Conversion of groups of completions to batches of a train step."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from jax.sharding import Mesh

from mobile_r1_jax.agent.completion import PromptGroup
from mobile_r1_jax.agent.prompts import Prompt
from mobile_r1_jax.model.inputs import Completions, EncodedScreens, Prompts, Screens, identity
from mobile_r1_jax.model.sharding import shard_batch
from mobile_r1_jax.training.step import Batch

Collate = Callable[[Sequence[Prompt], int], tuple[Screens | EncodedScreens, Prompts]]
"""(prompts, rows) -> screens and prompts as arrays of that many rows."""


def merge_equal_prompts(groups: Sequence[PromptGroup], most: int) -> list[PromptGroup]:
    """Merge groups with equal prompts, at most `most` groups into one. A prompt is computed once for its group."""
    equal: dict[tuple[bytes, ...], list[PromptGroup]] = defaultdict(list)
    for group in groups:
        equal[identity(group.prompt)].append(group)
    return [
        PromptGroup(
            some[0].prompt,
            [completion for group in some for completion in group.completions],
            [advantage for group in some for advantage in group.advantages],
        )
        for every in equal.values()
        for start in range(0, len(every), most)
        if (some := every[start : start + most])
    ]


def micro_batches(
    collate: Collate, groups: Sequence[PromptGroup], *, rows: int, group: int, tokens: int, mesh: Mesh
) -> list[Batch]:
    """Return all groups in batches of `rows` prompts.

    There are two shapes: one for groups with one completion, one for up to `group` completions. One shared shape would
    be mostly padding. Prompts of similar length share a batch. Empty rows pad the last batch of a shape.

    Args:
      tokens: length C of a completion. mesh: places the arrays.

    Raises ValueError if a completion is longer than C.
    """
    return [
        make_batch(collate, some, (rows, width, tokens), mesh)
        for width, batches in split_by_width(groups, rows, group)
        for some in batches
    ]


def split_by_width(
    groups: Sequence[PromptGroup], rows: int, group: int
) -> tuple[tuple[int, list[list[PromptGroup]]], ...]:
    """Return (room for completions, the groups that need it in lists of up to `rows`), for 1 and for `group`.

    The prompts get longer from list to list."""
    ordered = sorted(groups, key=lambda one: len(one.prompt.ids))
    single, several = ([one for one in ordered if (len(one.completions) > 1) == many] for many in (False, True))
    return tuple(
        (width, [some[start : start + rows] for start in range(0, len(some), rows)])
        for width, some in ((1, single), (group, several))
    )


def make_batch(collate: Collate, groups: Sequence[PromptGroup], shape: tuple[int, int, int], mesh: Mesh) -> Batch:
    """Return one batch; shape: (prompts, completions of each, tokens of each)."""
    screens, prompts = collate([one.prompt for one in groups], shape[0])
    return Batch(screens, prompts, shard_batch(stack_completions(groups, shape, is_truncated(groups)), mesh))


def is_truncated(groups: Sequence[PromptGroup]) -> bool:
    """Return whether completions have log-probabilities under a truncated distribution."""
    return any(completion.truncated_logps for one in groups for completion in one.completions)


def stack_completions(groups: Sequence[PromptGroup], shape: tuple[int, int, int], truncated: bool) -> Completions:
    """Return the completions of the groups as arrays on the host; shape: as of `make_batch`."""
    ids, (logps, truncated_logps) = np.zeros(shape, np.int32), np.zeros((2, *shape), np.float32)
    mask, advantages = np.zeros(shape, bool), np.zeros(shape[:2], np.float32)
    for row, one in enumerate(groups):
        advantages[row, : len(one.advantages)] = one.advantages
        for member, completion in enumerate(one.completions):
            length = len(completion.ids)
            if length > shape[2]:
                raise ValueError(f"a response has {length} tokens, shapes.response_tokens is {shape[2]}; raise it")
            ids[row, member, :length], mask[row, member, :length] = completion.ids, True
            if completion.logps:
                logps[row, member, :length] = completion.logps
            if completion.truncated_logps:
                truncated_logps[row, member, :length] = completion.truncated_logps
    return Completions(ids, mask, logps, advantages, truncated_logps if truncated else None)
