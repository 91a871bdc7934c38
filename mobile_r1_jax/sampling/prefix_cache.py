"""The common prefix of two prompts: its keys and values are reused.

The next prompt of an episode shares a prefix with the last one. At the second turn this is the whole prompt. Later it
is the system text, the task and all responses except the last two. Screens follow these, and each turn drops the older
of two screens.
"""

from dataclasses import replace
from typing import TypeVar

import numpy as np

from mobile_r1_jax.model.inputs import PromptLike

P = TypeVar("P", bound=PromptLike)


def common_prefix(one: PromptLike, other: PromptLike) -> int:
    """Return the length in tokens of the common prefix: equal ids, positions and screens.

    A prefix never ends within a screen. It never includes the last token of `one`, which predicts the first completion
    token.
    """
    length = min(len(one.ids) - 1, len(other.ids))
    same = (one.ids[:length] == other.ids[:length]) & (one.positions[:, :length] == other.positions[:, :length]).all(0)
    count = length if same.all() else int(np.argmin(same))
    for number, (start, end) in enumerate(_screens(one)):
        if start < count and (end > count or _screen(one, number) != _screen(other, number)):
            return start
    return count


def drop_prefix(prompt: P, tokens: int) -> P:
    """Return the prompt without its first `tokens` (see `common_prefix`); the other tokens keep their positions."""
    screens = sum(start < tokens for start, _ in _screens(prompt))
    before = int((prompt.image_index[:tokens] >= 0).sum())
    index = prompt.image_index[tokens:]
    return replace(
        prompt,
        ids=prompt.ids[tokens:],
        positions=prompt.positions[:, tokens:],
        image_index=np.where(index >= 0, index - before, -1).astype(np.int32),
        screenshots=prompt.screenshots[screens:],
        sizes=prompt.sizes[screens:],
    )


def _screen(prompt: PromptLike, number: int) -> tuple[str, tuple[int, int]]:
    return prompt.screenshots[number].sha, prompt.sizes[number]


def _screens(prompt: PromptLike) -> list[tuple[int, int]]:
    """Return (first token, token after the last) of every screen."""
    on = np.concatenate([[False], prompt.image_index >= 0, [False]])
    edges = np.flatnonzero(on[1:] != on[:-1])
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
