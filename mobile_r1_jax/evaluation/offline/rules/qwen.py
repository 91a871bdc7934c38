"""The evaluation function of Qwen2.5-VL, which GUI-Owl, UI-S1 and InfiGUI-R1 took over, and its variants."""

from __future__ import annotations

from collections.abc import Sequence
from math import dist

from mobile_r1_jax.agent.actions import (
    Action,
    Click,
    Key,
    LongPress,
    Open,
    Reply,
    Swipe,
    SystemButton,
    Terminate,
    Type,
    Wait,
)
from mobile_r1_jax.agent.frames import Point
from mobile_r1_jax.evaluation.offline.judging import (
    OPPOSITE,
    RIGHT,
    WRONG,
    Area,
    GoldenStep,
    Spot,
    Verdict,
    around,
    center,
    holds,
    right_if,
    spot,
    swiped,
)
from mobile_r1_jax.evaluation.offline.rules.rule_set import one_of
from mobile_r1_jax.evaluation.offline.texts import contains_folded

_GROWTH, _NEAR = 1.2, 0.04
occurs = one_of(Click, LongPress, Swipe, Type, Open, Wait, SystemButton)
occurs_in_training = one_of(Click, LongPress, Swipe, Type, Open, Wait, SystemButton, Terminate, Key, Reply)


def qwen(golden: GoldenStep, predicted: Action) -> Verdict:
    """Judge as the evaluation function of Qwen2.5-VL and UI-S1 with candidate boxes does.

    Quirks: a swipe is right in any direction. A click on the icon is right for opening an app. A typed text or an app's
    name is right if either text contains the other, so the empty text always is. UI-S1's released script empties the
    lists of boxes by mistake, so it judges clicks by the distance alone; here the boxes are used.
    """
    match golden.action, predicted:
        case Swipe(), Swipe():
            return RIGHT
        case (Open(), Click(point)) if golden.candidates:
            areas = golden.candidates
            return right_if(_hits(areas, spot(point), center(areas[0])))
        case (Click(target), Click(point)) | (LongPress(target), LongPress(point)):
            return right_if(_hits(golden.candidates, spot(point), spot(target)))
    return _plain(golden.action, predicted)


def ui_s1(golden: GoldenStep, predicted: Action) -> Verdict:
    """Judge as UI-S1's training reward does.

    Quirks: only up and down of AndroidControl's scroll directions are turned into the finger's, so a swipe to the left
    or right is right against the finger. Only the golden box counts. A golden key or answer is met by typing. Texts are
    compared as in `qwen`.
    """
    match golden.action, predicted:
        case Swipe(), Swipe():
            finger = swiped(golden.action, pixels=True)
            expected = OPPOSITE[finger] if finger in ("left", "right") else finger
            return right_if(expected is not None and swiped(predicted, pixels=True) == expected)
        case (Click(target), Click(point)) | (LongPress(target), LongPress(point)):
            areas = [golden.box_area] if golden.box_area else []
            return right_if(_hits(areas, spot(point), spot(target)))
        case ((Key(expected) | Reply(expected)), Type(text)):
            return right_if(contains_folded(text, expected))
        case (Terminate(), Terminate()):
            return RIGHT
    return _plain(golden.action, predicted)


def infigui(golden: GoldenStep, predicted: Action) -> Verdict:
    """Judge as the evaluation of InfiGUI-R1 does, of which only a third party's copy is known.

    Quirks: AndroidControl's scroll direction, which is that of the content, is compared with the finger's, so the
    opposite gesture is right; whether its data was turned round before is not known. The distance of a click is 0.04 of
    the longer side in pixels of the model image. The rest is as in `qwen`.
    """
    match golden.action, predicted:
        case Swipe(), Swipe():
            finger = swiped(golden.action, pixels=True)
            return right_if(finger is not None and swiped(predicted, pixels=True) == OPPOSITE[finger])
        case (Click(target), Click(point)) | (LongPress(target), LongPress(point)):
            return right_if(_in_one(golden.candidates, spot(point)) or _is_near_in_pixels(point, spot(target)))
        case (Open(), Click(point)) if golden.candidates:
            areas = golden.candidates
            return right_if(_in_one(areas, spot(point)) or _is_near_in_pixels(point, center(areas[0])))
    return _plain(golden.action, predicted)


def _plain(golden: Action, predicted: Action) -> Verdict:
    """Judge actions without coordinates."""
    match golden, predicted:
        case (Type(expected), Type(text)) | (Open(expected), Open(text)):
            return right_if(contains_folded(text, expected))
        case SystemButton(expected), SystemButton(button):
            return right_if(button == expected)
        case Wait(), Wait():
            return RIGHT
    return WRONG


def _hits(areas: Sequence[Area], point: Spot, target: Spot) -> bool:
    return _in_one(areas, point) or dist(point, target) <= _NEAR


def _in_one(areas: Sequence[Area], point: Spot) -> bool:
    return any(holds(around(area, _GROWTH), point) for area in areas)


def _is_near_in_pixels(point: Point, target: Spot) -> bool:
    width, height = point.frame.width, point.frame.height
    return dist((point.x, point.y), (target[0] * width, target[1] * height)) <= _NEAR * max(width, height)
