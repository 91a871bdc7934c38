"""The metric of the AndroidControl paper, by UGround's code; its authors have released none."""

from __future__ import annotations

from mobile_r1_jax.agent.actions import Action, Click, LongPress, Open, Swipe, SystemButton, Type, Wait
from mobile_r1_jax.evaluation.offline.judging import (
    GoldenStep,
    Verdict,
    all_or_nothing,
    holds,
    spot,
    swiped,
)
from mobile_r1_jax.evaluation.offline.rules.rule_set import one_of

occurs = one_of(Click, LongPress, Swipe, Type, Open, Wait, buttons=("Back", "Home"))


def android_control(golden: GoldenStep, predicted: Action) -> Verdict:
    """Judge as the AndroidControl paper describes it.

    Quirks: a click is right in the smallest box that holds the golden point and nowhere else; a step without such a box
    cannot be right. Texts are equal to the letter. A click on an element with the app's name is right for opening it,
    and one on an element that says back for Back. The reverse holds too, and there opening any app is right if the
    golden element has any text, because the released code looks for an empty name.
    """
    return all_or_nothing(_is_right(golden, predicted))


def _is_right(golden: GoldenStep, predicted: Action) -> bool:
    match golden.action, predicted:
        case (Click(target), Click(point)) | (LongPress(target), LongPress(point)):
            area = golden.smallest_area(spot(target))
            return area is not None and holds(area, spot(point))
        case Swipe(), Swipe():
            finger = swiped(golden.action, pixels=True)
            return finger is not None and finger == swiped(predicted, pixels=True)
        case Open(app), Click(point):
            return app.lower() in golden.text_at(spot(point))
        case Click(target), Open():
            return golden.text_at(spot(target)) != ""
        case (SystemButton("Back"), Click(point)) | (Click(point), SystemButton("Back")):
            return "back" in golden.text_at(spot(point))
        case Wait(), Wait():
            return True
    return predicted == golden.action
