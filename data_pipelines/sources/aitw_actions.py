"""The actions of AITW by their numbers, which AITZ and CAGUI store as well."""

from __future__ import annotations

from collections.abc import Sequence
from math import dist

from mobile_r1_jax.agent.actions import Action, Click, LongPress, Swipe, SystemButton, Terminate, Type, Wait
from mobile_r1_jax.agent.frames import Point
from mobile_r1_jax.agent.json_fields import BrokenError
from mobile_r1_jax.agent.screenshots import Screenshot

DUAL_POINT = 4
_LONG_PRESS, _NOTHING, _TYPE = 0, 1, 3  # the first two are of CAGUI
_PLAIN = {
    5: SystemButton("Back"),
    6: SystemButton("Home"),
    7: SystemButton("Enter"),
    10: Terminate("success"),
    11: Terminate("failure"),
}
_TAP = 0.04  # largest distance of touch and lift of a tap; the sides have length 1
_HOLD, _WAIT = 1, 2  # seconds, for data without a duration [ours]


def read_action(
    number: int,
    text: str,
    touch: Sequence[float],
    lift: Sequence[float],
    screenshot: Screenshot,
    *,
    milliseconds: float = 0,
    more: bool = False,
) -> Action:
    """Return an action of AITW. Raise BrokenError for a number without a meaning, and for a point off the screen.

    touch, lift: (y, x) as shares of the sides; the finger goes from touch to lift. milliseconds: of a press or a pause;
    0: the data has none. more: the data also has long presses and pauses.
    """
    if number == DUAL_POINT:
        start, end = to_point(touch, screenshot), to_point(lift, screenshot)
        return Click(start) if dist(touch, lift) <= _TAP else Swipe(start, end)
    if number == _TYPE:
        return Type(text)
    if number in _PLAIN:
        return _PLAIN[number]
    if more and number == _LONG_PRESS:
        return LongPress(to_point(touch, screenshot), milliseconds / 1000 or _HOLD)
    if more and number == _NOTHING:
        return Wait(milliseconds / 1000 or _WAIT)
    raise BrokenError(f"action type {number} has no meaning")


def to_point(yx: Sequence[float], screenshot: Screenshot) -> Point:
    """Return the pixel at (y, x), shares of the sides of the screen. Raise BrokenError if they are not shares."""
    if len(yx) != 2 or not all(0 <= share <= 1 for share in yx):
        raise BrokenError(f"a touch at (y, x) = ({', '.join(map(str, yx))}), which must be two shares from 0 to 1")
    x, y = round(yx[1] * screenshot.width), round(yx[0] * screenshot.height)
    return Point(min(x, screenshot.width - 1), min(y, screenshot.height - 1), screenshot.frame)
