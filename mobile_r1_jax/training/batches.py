"""Groups of completions as the batches of a train step."""

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
    """Return the same completions, those of equal prompts together, `most` in a group: a prompt is computed once for
    all of its group."""
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

    There are two shapes, with room for `group` completions or for one: one group of G and G groups of one differ too
    much to share a shape. Prompts of similar length share a batch. Empty rows pad the last batch of a shape.

    Args:
      tokens: room for a completion, in tokens. mesh: where the arrays are placed.

    Raises ValueError where a completion is longer than that.
    """
    ordered = sorted(groups, key=lambda one: len(one.prompt.ids))
    alone, together = ([one for one in ordered if (len(one.completions) > 1) == several] for several in (False, True))
    return [
        make_batch(collate, some[start : start + rows], (rows, width, tokens), mesh)
        for width, some in ((1, alone), (group, together))
        for start in range(0, len(some), rows)
    ]


def make_batch(collate: Collate, groups: Sequence[PromptGroup], shape: tuple[int, int, int], mesh: Mesh) -> Batch:
    """Return one batch; shape: (prompts, completions of each, tokens of each)."""
    screens, prompts = collate([one.prompt for one in groups], shape[0])
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
    cut = any(completion.truncated_logps for one in groups for completion in one.completions)
    completions = Completions(ids, mask, logps, advantages, truncated_logps if cut else None)
    return Batch(screens, prompts, shard_batch(completions, mesh))
