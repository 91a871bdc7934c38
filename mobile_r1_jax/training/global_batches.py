"""Micro-batches of a run on several hosts: each host makes its own rows of every batch, from its own groups.

Hosts exchange only the sizes that their rows need, so that each array has one shape on all of them. Screenshots stay
on their host. Which rows share a batch depends on the number of hosts. Their sum does not: every
micro-batch is divided by the tokens of the whole update (`train_step`).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np
from jax.sharding import Mesh

from mobile_r1_jax.agent.completion import PromptGroup
from mobile_r1_jax.agent.prompts import Prompt
from mobile_r1_jax.model.config import VisionConfig
from mobile_r1_jax.model.host_replica import own_rows
from mobile_r1_jax.model.inputs import EncodedScreens, Prompts, Screens, distinct_screens
from mobile_r1_jax.model.packing import Shape, Size
from mobile_r1_jax.model.sharding import place_own_rows
from mobile_r1_jax.training.batches import is_truncated, split_by_width, stack_completions
from mobile_r1_jax.training.step import Batch


@dataclass(frozen=True)
class Needs:
    """What one host's rows of a batch need. sizes: (width, height) of each distinct screen, in model pixels."""

    prompt_tokens: int = 0
    sizes: Sequence[Size] = ()
    truncated: bool = False


@dataclass(frozen=True)
class Common:
    """The shape of every host's rows. screens: None if they are encoded already, which has one shape."""

    prompt_tokens: int
    screens: Shape | None
    truncated: bool


Collate = Callable[[Sequence[Prompt], Common], tuple[Screens | EncodedScreens, Prompts]]
"""(prompts, shape) -> screens and prompts as arrays of this host's rows, on the host."""


def global_batches(
    collate: Collate,
    groups: Sequence[PromptGroup],
    *,
    rows: int,
    group: int,
    tokens: int,
    mesh: Mesh,
    vision: VisionConfig,
    dtype: np.dtype,
    common: Callable[[Sequence[Needs]], Common],
    gather: Callable[[Any], Sequence[Any]],
) -> list[Batch]:
    """Return the batches of all hosts' groups. All hosts call it together; a host without groups gives empty rows.

    Args:
      rows, group, tokens: as of `micro_batches`; rows: of this host. dtype: of encoded screens. common: returns the
      shape for what each host needs. gather: exchanges a value of JSON types.
    """
    own = split_by_width(groups, rows, group)
    every = gather([[asdict(needs_of(some)) for some in batches] for _, batches in own])
    made = []
    for (width, batches), *of_hosts in zip(own, *every, strict=True):
        # Aligned at the end: the longest prompts of all hosts share a batch.
        backwards = [[Needs(**need) for need in reversed(needs)] for needs in of_hosts]
        for some, *needs in reversed([*zip_longest(batches[::-1], *backwards)]):
            shape = common([need or Needs() for need in needs])
            screens, prompts = collate([one.prompt for one in some or ()], shape)
            completions = stack_completions(some or (), (rows, width, tokens), shape.truncated)
            made.append(place_batch_rows(Batch(screens, prompts, completions), mesh, vision, dtype))
    return made


def needs_of(groups: Sequence[PromptGroup]) -> Needs:
    """Return the sizes that the rows of these groups need."""
    prompts = [one.prompt for one in groups]
    sizes = [size for _, size in distinct_screens(prompts).values()]
    return Needs(max(len(prompt.ids) for prompt in prompts), sizes, is_truncated(groups))


def place_batch_rows(batch: Batch, mesh: Mesh, vision: VisionConfig, dtype: np.dtype) -> Batch:
    """Return a batch over the mesh, of which each host gives its own rows; `image_index` then counts all screens."""
    screens, prompts = batch.screens, batch.prompts
    if isinstance(screens, EncodedScreens):
        screens = EncodedScreens(screens.tokens.astype(dtype))  # a host without screens cannot read it from them
        tokens, own = screens.tokens.shape[1], len(screens.tokens)
    else:
        tokens, own = screens.screen.shape[1] * vision.window_tokens, len(screens.screen)
    hosts = len({device.process_index for device in mesh.devices.flat})
    number, token = np.divmod(prompts.image_index, tokens)
    index = np.where(prompts.image_index < 0, -1, own_rows(mesh, own * hosts)[number] * tokens + token)
    prompts = replace(prompts, image_index=index.astype(np.int32))
    return Batch(*(place_own_rows(part, mesh) for part in (screens, prompts, batch.completions)))
