"""The rules of AgentCPM-GUI, by which its authors also score AITZ, GUI-Odyssey and CAGUI."""

from __future__ import annotations

from math import dist

from mobile_r1_jax.agent.actions import Action, Click, LongPress, Swipe, SystemButton, Terminate, Type, Wait
from mobile_r1_jax.evaluation.offline.judging import (
    RIGHT,
    WRONG,
    GoldenStep,
    Spot,
    Verdict,
    center,
    enlarged,
    holds,
    is_recents,
    is_tap,
    right_if,
    spot,
    swiped,
    thousandths,
)
from mobile_r1_jax.evaluation.offline.rules.rule_set import one_of
from mobile_r1_jax.evaluation.offline.texts import contains_folded

_GROWTH, _NEAREST = 1.2, 5
_NEAR, _NEAR_SWITCHED = 0.14, 0.04
_CLICK = 0.2  # seconds: a click is a long press of this time
_BUTTONS = ("Back", "Home", "Enter")
occurs_switched = one_of(Click, LongPress, Swipe, Type, Wait, Terminate, buttons=_BUTTONS)


def occurs(action: Action) -> bool:
    """Return whether a golden action occurs. Steps that open an app are left out of the data."""
    return occurs_switched(action) or is_recents(action)


def agent_cpm(golden: GoldenStep, predicted: Action, *, android_control: bool = False) -> Verdict:
    """Judge as AgentCPM-GUI's evaluation does, with or without its switch for AndroidControl.

    Quirks: wait and terminate are one class, so either is right for the other. A typed text is right if either text
    contains the other, so the empty text always is. A long press below 0.2 s is a stop. A golden swipe that is shorter
    than 0.04 is a click. A golden key of the recent apps is home. A box at the left or top edge grows to one side.
    Boxes count only where the data lists elements, so not on GUI-Odyssey.

    The switch: a golden long press became a click in the conversion, so a long press is wrong. A click is right in any
    of the five boxes nearest to the golden point, whether they hold it or not; the distance is 0.04 instead of 0.14.
    """
    action = golden.action
    if is_recents(action):
        action = SystemButton("Home")
    if _class_of_golden(action, android_control) != _class(predicted):
        return WRONG
    match action, predicted:
        case ((Click(target) | LongPress(target) | Swipe(target)), (Click(point) | LongPress(point))):
            return right_if(_hits(golden, spot(target), thousandths(point), android_control))
        case Swipe(), Swipe():
            return right_if(swiped(action) is not None and swiped(action) == swiped(predicted))
        case Type(expected), Type(text):
            return right_if(contains_folded(text, expected))
        case SystemButton(expected), SystemButton(button):
            return right_if(button == expected)
    return RIGHT  # both are stops


def _hits(golden: GoldenStep, target: Spot, point: Spot, android_control: bool) -> bool:
    areas = [golden.area(element.bbox) for element in golden.elements]
    if android_control:
        areas = sorted(areas, key=lambda area: dist(center(area), target))[:_NEAREST]
    grown = [enlarged(area, _GROWTH) for area in areas]
    if not android_control:
        grown = [area for area in grown if holds(area, target)]
    near = _NEAR_SWITCHED if android_control else _NEAR
    return any(holds(area, point) for area in grown) or dist(target, point) <= near


def _class_of_golden(action: Action, android_control: bool) -> str:
    if isinstance(action, LongPress):
        return "click" if android_control else "long press"
    return "click" if isinstance(action, Swipe) and is_tap(action) else _class(action)


def _class(action: Action) -> str:
    """Return the class of an action of AgentCPM-GUI; "" for one that it cannot express."""
    match action:
        case Click():
            return "click"
        case LongPress(_, seconds):
            return "click" if seconds == _CLICK else "long press" if seconds > _CLICK else "stop"
        case Swipe():
            return "swipe"
        case Type():
            return "type"
        case SystemButton(button) if button in _BUTTONS:
            return "press"
        case Wait() | Terminate():
            return "stop"
    return ""
