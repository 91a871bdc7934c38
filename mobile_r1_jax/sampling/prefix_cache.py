"""What two prompts begin with alike: its keys need not be computed again.

An episode's next prompt begins as its last one did: all of it at the second turn, later the system text, the task and
the responses before the last two. Screens stand behind these, and the older of two leaves the prompt.
"""

from dataclasses import replace
from typing import TypeVar

import numpy as np

from mobile_r1_jax.model.inputs import PromptLike

P = TypeVar("P", bound=PromptLike)


def common_prefix(one: PromptLike, other: PromptLike) -> int:
    """With how many tokens both prompts begin that are the same to the policy: ids, positions, what the screens show.
    A screen is there as a whole or not at all, and the last token of `one` never, since the next is predicted from it.
    """
    length = min(len(one.ids) - 1, len(other.ids))
    same = (one.ids[:length] == other.ids[:length]) & (one.positions[:, :length] == other.positions[:, :length]).all(0)
    count = length if same.all() else int(np.argmin(same))
    for number, (start, end) in enumerate(_screens(one)):
        if start < count and (end > count or _screen(one, number) != _screen(other, number)):
            return start
    return count


def drop_prefix(prompt: P, tokens: int) -> P:
    """The prompt without its first tokens, at the positions that it has; `tokens` as `common_prefix` counts them."""
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
    """(first token, token after the last) of every screen."""
    on = np.concatenate([[False], prompt.image_index >= 0, [False]])
    edges = np.flatnonzero(on[1:] != on[:-1])
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
