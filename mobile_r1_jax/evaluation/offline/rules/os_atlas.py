"""The rules of OS-Atlas for AndroidControl, which UI-TARS and GUI-R1 follow."""

from __future__ import annotations

from math import dist

from mobile_r1_jax.agent.actions import Action, Click, LongPress, Open, Swipe, SystemButton, Type, Wait
from mobile_r1_jax.evaluation.offline.judging import (
    RIGHT,
    WRONG,
    GoldenStep,
    Verdict,
    right_if,
    swiped,
    thousandths,
)
from mobile_r1_jax.evaluation.offline.rules.rule_set import one_of

_NEAR = 0.14
occurs = one_of(Click, LongPress, Swipe, Type, Open, Wait, buttons=("Back", "Home"))


def os_atlas(golden: GoldenStep, predicted: Action) -> Verdict:
    """Judge as OS-Atlas's script for AndroidControl does.

    Quirks: no box counts, only the distance 0.14. Of a typed text or an app's name, the first word decides, with the
    bracket before it and, of a text of one word, the one after it. Each button is a type of its own. Scroll directions
    are compared as AndroidControl's words; its converter is not public, and here an answer is turned into that word.
    """
    match golden.action, predicted:
        case (Click(target), Click(point)) | (LongPress(target), LongPress(point)):
            return right_if(dist(thousandths(target), thousandths(point)) <= _NEAR)
        case (Type(expected), Type(text)) | (Open(expected), Open(text)):
            return right_if(_second_word(text) == _second_word(expected))
        case Swipe(), Swipe():
            finger = swiped(golden.action, pixels=True)
            return right_if(finger is not None and finger == swiped(predicted, pixels=True))
        case SystemButton(expected), SystemButton(button) if button == expected:
            return RIGHT
        case Wait(), Wait():
            return RIGHT
    return WRONG


def grounds(golden: Action, verdict: Verdict, is_read: bool) -> bool:
    """Return whether a step counts for grounding: a golden click whose answer is a click too."""
    return isinstance(golden, Click) and verdict.type_match


def _second_word(text: str) -> str:
    """Return the second word of "TYPE [text]"."""
    return f"[{text}]".lower().split()[0]
