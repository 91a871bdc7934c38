"""The common prefix of two prompts is exact to the token and never ends inside a screen."""

from dataclasses import replace

import numpy as np
import pytest
from small_models import IMAGE, SIZES, SmallPrompt, make_prompt

from mobile_r1_jax.sampling.prefix_cache import common_prefix, drop_prefix


@pytest.fixture(scope="module")
def prompt(tied_pair) -> SmallPrompt:
    return make_prompt(tied_pair.torch, SIZES)


def screens(prompt: SmallPrompt) -> list[tuple[int, int]]:
    """Return (first token, token after the last) of both screens."""
    on = np.flatnonzero(prompt.ids == IMAGE)
    second = int(np.flatnonzero(np.diff(on) > 1)[0]) + 1
    return [(int(on[0]), int(on[second - 1]) + 1), (int(on[second]), int(on[-1]) + 1)]


def with_token(prompt: SmallPrompt, where: int) -> SmallPrompt:
    ids = prompt.ids.copy()
    ids[where] = 141
    return replace(prompt, ids=ids)


def test_common_prefix_of_a_prompt_with_itself_excludes_its_last_token(prompt) -> None:
    assert common_prefix(prompt, prompt) == len(prompt.ids) - 1


def test_first_different_token_ends_the_prefix(prompt) -> None:
    between = screens(prompt)[0][1] + 1
    for where in (0, 2, between, len(prompt.ids) - 2):
        assert common_prefix(prompt, with_token(prompt, where)) == where


def test_prompt_is_a_prefix_of_its_continuation(prompt) -> None:
    until = screens(prompt)[0][1] + 2
    other = SmallPrompt(
        prompt.ids[:until],
        prompt.positions[:, :until],
        prompt.image_index[:until],
        prompt.screenshots[:1],
        prompt.sizes[:1],
    )
    assert common_prefix(prompt, other) == until and common_prefix(other, prompt) == until - 1


@pytest.mark.parametrize("number", [0, 1])
def test_different_screen_ends_the_prefix_at_its_start(prompt, number) -> None:
    shown = list(prompt.screenshots)
    shown[number] = replace(shown[number], sha="another")
    assert common_prefix(prompt, replace(prompt, screenshots=tuple(shown))) == screens(prompt)[number][0]
    sizes = list(prompt.sizes)
    sizes[number] = sizes[number][::-1]
    assert common_prefix(prompt, replace(prompt, sizes=tuple(sizes))) == screens(prompt)[number][0]


def test_prefix_never_ends_inside_a_screen(prompt) -> None:
    start, end = screens(prompt)[1]
    assert common_prefix(prompt, with_token(prompt, end - 2)) == start
    positions = prompt.positions.copy()
    positions[1, start + 3] += 1
    assert common_prefix(prompt, replace(prompt, positions=positions)) == start


def test_remainder_keeps_its_screens_and_positions(prompt) -> None:
    (first, _), (second, end) = screens(prompt)
    for tokens, shown in ((first - 1, 0), (second - 2, 1), (second, 1), (end, 2)):
        rest = drop_prefix(prompt, tokens)
        np.testing.assert_array_equal(rest.ids, prompt.ids[tokens:])
        np.testing.assert_array_equal(rest.positions, prompt.positions[:, tokens:])
        assert (rest.screenshots, rest.sizes) == (prompt.screenshots[shown:], prompt.sizes[shown:])
        on = rest.image_index[rest.ids == IMAGE]
        np.testing.assert_array_equal(on, np.arange(len(on)))
        assert (rest.image_index[rest.ids != IMAGE] == -1).all()
