"""The rules of Mobile-R1, as its action-level reward has them."""

from __future__ import annotations

from mobile_r1_jax.agent.actions import Action, Click, Swipe, to_frame
from mobile_r1_jax.agent.frames import Box, Point
from mobile_r1_jax.agent.responses import Response
from mobile_r1_jax.evaluation.offline.judging import RIGHT, SAME_TYPE, WRONG, GoldenStep, Verdict, spot
from mobile_r1_jax.rewards.action import Golden, StepRules, action_reward

DEFAULTS = StepRules()


def mobile_r1(golden: GoldenStep, predicted: Action, rules: StepRules = DEFAULTS) -> Verdict:
    """Judge as the reward of the action level does; the paper's own rules of evaluation are not public.

    Quirks: a swipe counts by where it starts, unless `rules` say direction, so the opposite swipe from the same place
    can be right; the type score is that of the action's class [ours]. With back_by_click the back element is the
    smallest one under the click whose text contains "back".
    """
    action, box = golden.action, golden.box
    point = predicted.start if isinstance(predicted, Swipe) else getattr(predicted, "point", None)
    if isinstance(point, Point):  # as in training, all is compared in the pixels of the answer
        action, box = to_frame(action, point.frame), box and box.to(point.frame)
    back = None
    if isinstance(predicted, Click) and "back" in golden.text_at(spot(predicted.point)):
        back = Box(predicted.point.x, predicted.point.y, predicted.point.x, predicted.point.y, predicted.point.frame)
    if action_reward(Response("", "", predicted), Golden(action, box, back), rules):
        return RIGHT
    return SAME_TYPE if type(predicted) is type(golden.action) else WRONG
