"""The reward of one step by rule, against the annotated ("golden") next action."""

from dataclasses import dataclass
from typing import Annotated, Literal

from mobile_r1_jax.agent.actions import (
    Action,
    Click,
    Key,
    LongPress,
    Malformed,
    Open,
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
    """Which of the known rules to score by."""

    swipe: Literal["box", "direction"] = "box"  # a right swipe starts in the box [paper], or goes the same way [kin]
    back_by_click: bool = False  # golden Back also accepts a click on the on-screen back element [kin]
    closeness: Annotated[float, "[0, 1)"] = 0.9  # without a box, two points must be closer than this, of 1 [kin]

    def __post_init__(self) -> None:
        if self.swipe not in ("box", "direction"):
            raise ValueError(f"StepRules.swipe is {self.swipe!r}; choose box or direction")
        if not 0 <= self.closeness < 1:
            raise ValueError(f"StepRules.closeness is {self.closeness}; choose a number from 0 to below 1")


@dataclass(frozen=True)
class Golden:
    """The annotated next action, with the boxes that the annotation may have; each in any frame."""

    action: Action
    box: Box | None = None  # the element that the action touches
    back_box: Box | None = None  # the screen's own back element, where it has one


def action_reward(answer: Response | Malformed, golden: Golden, rules: StepRules) -> float:
    """1 when the answer's action is the golden one as the rules see it, else 0; an answer that doesn't parse scores 0.

    Click, long press and swipe: the (first) point lies inside the golden box [paper]; type, system button, open, key:
    the argument matches exactly [paper], stripped and lowercased [kin]; wait, terminate: the type is enough [kin].
    """
    if isinstance(answer, Malformed):
        return 0.0
    return float(_matches(answer.action, golden, rules))


def step_reward(answer: Response | Malformed, golden: Golden, rules: StepRules) -> float:
    """The action-level stage's reward, `R_act + R_fmt`: 0, 1 or 2 [paper]."""
    return action_reward(answer, golden, rules) + step_format_reward(answer)


def closeness(a: Point, b: Point) -> float:
    """`1 - (|dx|/W + |dy|/H) / 2` in b's frame: 1 at the same place, 0 in opposite corners [kin]."""
    a = a.to(b.frame)
    return 1 - (abs(a.x - b.x) / b.frame.width + abs(a.y - b.y) / b.frame.height) / 2


def swipe_direction(swipe: Swipe) -> Direction | None:
    """The way along the dominant axis from start to end [kin]; None for a swipe that goes nowhere."""
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
        case (Key(text=said), Key(text=meant)) | (Type(text=said), Type(text=meant)):
            return _same(said, meant)
        case (SystemButton(button=said), SystemButton(button=meant)) | (Open(app=said), Open(app=meant)):
            return _same(said, meant)
        case (Wait(), Wait()) | (Terminate(), Terminate()):
            return True
        case Click(), SystemButton(button=meant) if rules.back_by_click and golden.back_box and _same(meant, "back"):
            return golden.back_box.contains(action.point.to(golden.back_box.frame))
    return False


def _hits(point: Point, target: Point, box: Box | None, rules: StepRules) -> bool:
    if box is None:
        return closeness(point, target) > rules.closeness
    return box.contains(point.to(box.frame))


def _same(said: str, meant: str) -> bool:
    return said.strip().lower() == meant.strip().lower()
