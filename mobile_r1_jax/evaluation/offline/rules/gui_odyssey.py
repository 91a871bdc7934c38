"""The rules of GUI-Odyssey."""

from __future__ import annotations

from math import dist

from mobile_r1_jax.agent.actions import Action, Click, LongPress, Swipe, SystemButton, Terminate, Type
from mobile_r1_jax.evaluation.offline.judging import (
    RIGHT,
    WRONG,
    GoldenStep,
    Verdict,
    holds,
    is_recents,
    right_if,
    spot,
    swiped,
    thousandths,
)
from mobile_r1_jax.evaluation.offline.rules.rule_set import one_of
from mobile_r1_jax.evaluation.offline.texts import contains, levenshtein_similarity

_NEAR, _SIMILAR = 0.14, 0.5
_plain = one_of(Click, LongPress, Swipe, Type, Terminate, buttons=("Back", "Home"))


def occurs(action: Action) -> bool:
    """Return whether a golden action occurs."""
    return _plain(action) or is_recents(action)


def gui_odyssey(golden: GoldenStep, predicted: Action) -> Verdict:
    """Judge as GUI-Odyssey's evaluation does. On its random split, the score is the mean over six categories.

    Quirks: a text is compared up to its first colon only. Complete and impossible differ, and each button is a type of
    its own. The box of a click is not enlarged. The released code counts an answer that it cannot read, and any click
    on a step with an empty box, as wrong but of the right type; here the first has no type, and the second is judged by
    the distance.
    """
    match golden.action, predicted:
        case (Click(target), Click(point)) | (LongPress(target), LongPress(point)):
            in_box = golden.box_area is not None and holds(golden.box_area, spot(point))
            return right_if(in_box or dist(thousandths(target), thousandths(point)) <= _NEAR)
        case Swipe(), Swipe():
            finger = swiped(golden.action)
            return right_if(finger is not None and finger == swiped(predicted))
        case Type(expected), Type(text):
            return right_if(_same_text(text.split(":")[0].strip(), expected.split(":")[0].strip()))
        case (SystemButton(), SystemButton()) | (Terminate(), Terminate()) if predicted == golden.action:
            return RIGHT
    return RIGHT if is_recents(golden.action) and is_recents(predicted) else WRONG


def _same_text(text: str, expected: str) -> bool:
    return contains(text, expected) or levenshtein_similarity(text, expected) >= _SIMILAR
