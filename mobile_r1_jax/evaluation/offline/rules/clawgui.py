"""The rules of ClawGUI-Eval for AndroidControl."""

from __future__ import annotations

from math import dist, hypot

from mobile_r1_jax.agent.actions import Action, Click, LongPress, Open, Swipe, SystemButton, Type, Wait
from mobile_r1_jax.agent.frames import Point
from mobile_r1_jax.evaluation.offline.judging import (
    RIGHT,
    WRONG,
    GoldenStep,
    Spot,
    Verdict,
    center,
    holds,
    right_if,
    spot,
    swiped,
)
from mobile_r1_jax.evaluation.offline.rules.rule_set import one_of, touches
from mobile_r1_jax.evaluation.offline.texts import token_f1

_WIDTH, _HEIGHT = 1080, 2400  # of the screens of its data
_NEAR = hypot(0.14 * _WIDTH, 0.14 * _HEIGHT)  # 368.45 pixels
_NEAREST = 5
_F1 = 0.5  # a text's must be above it
occurs = one_of(Click, LongPress, Swipe, Type, Open, Wait, buttons=("Back", "Home"))


def clawgui(golden: GoldenStep, predicted: Action) -> Verdict:
    """Judge as ClawGUI-Eval does.

    Quirks: terminate, Enter and Menu cannot be parsed, and count as no answer. A click is right in any of the five
    boxes nearest to the click, or within 368.45 pixels of a screen of 1080x2400. The released code divides pixels of
    Qwen2.5-VL by 1080 and 2400 for images of any size; here they are divided by that size, as the code does for
    other models.
    """
    match golden.action, predicted:
        case (Click(target), Click(point)) | (LongPress(target), LongPress(point)):
            return right_if(_hits(golden, target, point))
        case (Type(expected), Type(text)) | (Open(expected), Open(text)):
            return right_if(text == expected or token_f1(text, expected) > _F1)
        case Swipe(), Swipe():
            finger = swiped(golden.action, pixels=True)
            return right_if(finger is not None and finger == swiped(predicted, pixels=True))
        case SystemButton(expected), SystemButton(button):
            return right_if(button == expected)
        case Wait(), Wait():
            return RIGHT
    return WRONG


def grounds(golden: Action, verdict: Verdict, is_read: bool) -> bool:
    """Return whether a step counts for grounding: clicks and long presses whose answer could be parsed."""
    return touches(golden, verdict, is_read) and is_read


def _hits(golden: GoldenStep, target: Point, point: Point) -> bool:
    at = _truncated(point)
    near = sorted(golden.areas, key=lambda area: dist(center(area), at))[:_NEAREST]
    return any(holds(area, at) for area in near) or dist(_pixel(point), _pixel(target)) <= _NEAR


def _truncated(point: Point) -> Spot:
    """Return a point in whole pixels of 1080x2400, as shares of the sides."""
    x, y = _pixel(point)
    return x / _WIDTH, y / _HEIGHT


def _pixel(point: Point) -> tuple[int, int]:
    x, y = spot(point)
    return int(int(1000 * x) / 1000 * _WIDTH), int(int(1000 * y) / 1000 * _HEIGHT)
