"""The rules of Android in the Wild (AITW) and of AITZ, which is made from it."""

from __future__ import annotations

from math import dist

from mobile_r1_jax.agent.actions import Action, Click, Swipe, SystemButton, Terminate, Type
from mobile_r1_jax.evaluation.offline.judging import (
    RIGHT,
    WRONG,
    GoldenStep,
    Spot,
    Verdict,
    all_or_nothing,
    around,
    enlarged,
    holds,
    is_tap,
    overlap,
    right_if,
    spot,
    swipe_delta,
    swiped,
)
from mobile_r1_jax.evaluation.offline.rules.rule_set import one_of
from mobile_r1_jax.evaluation.offline.texts import contains, indel_ratio

_NEAR = 0.14
_GROWTH = 2.4  # AITW adds 1.4 of a box's size to it
_AITZ_GROWTH, _REACH = 1.2, 0.1
_VERTICAL = 0.9  # AITZ: a drag is vertical if |dy| is at least this share of |dx|
_OVERLAP, _RATIO = 0.5, 0.8
_BUTTONS = ("Back", "Home", "Enter")
occurs = one_of(Click, Swipe, Type, Terminate, buttons=_BUTTONS)


def aitw(golden: GoldenStep, predicted: Action) -> Verdict:
    """Judge as AITW's action matching does. Its score is the mean over the five data sets.

    Quirks: a typed text is never compared. A swipe is right along the same axis, so the opposite one is. Boxes grow to
    2.4 of their sides, and one that holds both points decides. A swipe that is shorter than 0.04 is a tap.
    """
    match golden.action, predicted:
        case ((Click() | Swipe()), (Click() | Swipe())):
            return all_or_nothing(_same_gesture(golden, predicted))
        case Type(), Type():
            return RIGHT
    return all_or_nothing(predicted == golden.action)


def aitz(golden: GoldenStep, predicted: Action) -> Verdict:
    """Judge as AITZ's evaluator does, where the golden point of a click is its touch point.

    Quirks: an answer's point is a box of 0.1 of the sides in each direction, by AgentCPM-GUI's adapter, and grows to
    1.2 of it. Every terminate is right. In the released code the golden point of a click stays (0, 0), so nearly every
    click is wrong; that is not done here.
    """
    match golden.action, predicted:
        case Click(target), Click(point):
            return right_if(_boxes_meet(golden, spot(target), spot(point)))
        case Swipe(), Swipe():
            finger = swiped(golden.action, _VERTICAL)
            return right_if(finger is not None and finger == swiped(predicted))
        case Type(expected), Type(text):
            return right_if(contains(text, expected) or indel_ratio(text, expected) > _RATIO)
        case SystemButton(expected), SystemButton(button) if button in _BUTTONS:
            return right_if(button == expected)
        case Terminate(), Terminate():
            return RIGHT
    return WRONG


def _same_gesture(golden: GoldenStep, predicted: Click | Swipe) -> bool:
    expected = golden.action
    assert isinstance(expected, (Click, Swipe))
    if _taps(expected) != _taps(predicted):
        return False
    if _taps(expected):
        target, point = _touch(expected), _touch(predicted)
        grown = (enlarged(area, _GROWTH) for area in golden.areas)
        return any(holds(area, target) and holds(area, point) for area in grown) or dist(target, point) <= _NEAR
    return _is_vertical(expected) == _is_vertical(predicted)


def _taps(action: Click | Swipe) -> bool:
    return isinstance(action, Click) or is_tap(action)


def _touch(action: Click | Swipe) -> Spot:
    return spot(action.point if isinstance(action, Click) else action.start)


def _is_vertical(action: Click | Swipe) -> bool:
    assert isinstance(action, Swipe)
    dx, dy = swipe_delta(action)
    return abs(dy) >= abs(dx)


def _boxes_meet(golden: GoldenStep, target: Spot, point: Spot) -> bool:
    touched = around((point[0] - _REACH, point[1] - _REACH, point[0] + _REACH, point[1] + _REACH), _AITZ_GROWTH)
    grown = (around(area, _AITZ_GROWTH) for area in golden.areas)
    return holds(touched, target) or any(holds(area, target) and overlap(area, touched) > _OVERLAP for area in grown)
