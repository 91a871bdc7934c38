"""The rule-based reward of one step: the answer compared with the annotated ("golden") next action."""

from dataclasses import dataclass
from typing import Annotated, Literal

from mobile_r1_jax.agent.actions import (
    Action,
    Click,
    Key,
    LongPress,
    Malformed,
    Open,
    Reply,
    Swipe,
    SystemButton,
    Terminate,
    Type,
    Wait,
)
from mobile_r1_jax.agent.frames import Box, Point
from mobile_r1_jax.agent.responses import Response
from mobile_r1_jax.rewards.format import step_format_reward

Direction = Literal["up", "down", "left", "right"]


@dataclass(frozen=True)
class StepRules:
    """The rules by which an action is compared with the golden one."""

    swipe: Literal["box", "direction"] = "box"  # a swipe starts in the box [paper], or has the same direction [kin]
    back_by_click: bool = False  # golden Back also accepts a click on the on-screen back element [kin]
    closeness: Annotated[float, "[0, 1)"] = 0.9  # without a box, the points' closeness must be above this [kin]

    def __post_init__(self) -> None:
        if self.swipe not in ("box", "direction"):
            raise ValueError(f"StepRules.swipe is {self.swipe!r}; choose box or direction")
        if not 0 <= self.closeness < 1:
            raise ValueError(f"StepRules.closeness is {self.closeness}; choose a number from 0 to below 1")


@dataclass(frozen=True)
class Golden:
    """The annotated next action and the boxes of its annotation; each may be in any frame."""

    action: Action
    box: Box | None = None  # the element that the action touches
    back_box: Box | None = None  # the back element on the screen, if there is one


def action_reward(answer: Response | Malformed, golden: Golden, rules: StepRules) -> float:
    """Return 1 when the answer's action matches the golden action by the rules, else 0. A malformed answer gets 0.

    Click, long press and swipe: the (first) point is inside the golden box [paper]. Type, system button, open and key:
    the argument is equal [paper] after stripping and lowercasing [kin]. Wait and terminate: the type is equal [kin].
    """
    if isinstance(answer, Malformed):
        return 0.0
    return float(_matches(answer.action, golden, rules))


def step_reward(answer: Response | Malformed, golden: Golden, rules: StepRules) -> float:
    """Return the reward of the action-level stage, `R_act + R_fmt`: 0, 1 or 2 [paper]."""
    return action_reward(answer, golden, rules) + step_format_reward(answer)


def closeness(a: Point, b: Point) -> float:
    """Return `1 - (|dx|/W + |dy|/H) / 2` in b's frame: 1 for equal points, 0 for opposite corners [kin]."""
    a = a.to(b.frame)
    return 1 - (abs(a.x - b.x) / b.frame.width + abs(a.y - b.y) / b.frame.height) / 2


def swipe_direction(swipe: Swipe) -> Direction | None:
    """Return the direction along the dominant axis from start to end [kin]; None if both are the same point."""
    end = swipe.end.to(swipe.start.frame)
    dx, dy = end.x - swipe.start.x, end.y - swipe.start.y
    if dx == dy == 0:
        return None
    if abs(dx) > abs(dy):
        return "right" if dx > 0 else "left"
    return "down" if dy > 0 else "up"


def _matches(action: Action, golden: Golden, rules: StepRules) -> bool:
    match action, golden.action:
        case (Click(point=point), Click(point=target)) | (LongPress(point=point), LongPress(point=target)):
            return _hits(point, target, golden.box, rules)
        case Swipe(), Swipe():
            if rules.swipe == "direction":
                direction = swipe_direction(action)
                return direction is not None and direction == swipe_direction(golden.action)
            return _hits(action.start, golden.action.start, golden.box, rules)
        case (Key(text), Key(expected)) | (Type(text), Type(expected)) | (Reply(text), Reply(expected)):
            return _same_text(text, expected)
        case (SystemButton(button=text), SystemButton(button=expected)) | (Open(app=text), Open(app=expected)):
            return _same_text(text, expected)
        case (Wait(), Wait()) | (Terminate(), Terminate()):
            return True
        case Click(), SystemButton(button=name) if rules.back_by_click and golden.back_box and _same_text(name, "back"):
            return golden.back_box.contains(action.point.to(golden.back_box.frame))
    return False


def _hits(point: Point, target: Point, box: Box | None, rules: StepRules) -> bool:
    if box is None:
        return closeness(point, target) > rules.closeness
    return box.contains(point.to(box.frame))


def _same_text(text: str, expected: str) -> bool:
    return text.strip().lower() == expected.strip().lower()
