import pytest

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
from mobile_r1_jax.agent.frames import Box, Frame, Point
from mobile_r1_jax.agent.responses import Response
from mobile_r1_jax.rewards import Golden, StepRules, action_reward, step_reward

MODEL = Frame("model", 100, 200)
SHOT = Frame("screenshot", 1000, 2000)
BOX = Box(200, 400, 299, 499, SHOT)  # pixels 20..29, 40..49 of the model's image
PAPER = StepRules()


def at(x: int, y: int) -> Point:
    return Point(x, y, MODEL)


def reward(action: Action, golden: Golden, rules: StepRules = PAPER) -> float:
    return action_reward(Response("", "", action), golden, rules)


@pytest.mark.parametrize("make", [Click, lambda p: LongPress(p, 1), lambda p: Swipe(p, at(90, 190))])
def test_point_counts_inside_the_golden_box_of_another_frame(make) -> None:
    golden = Golden(make(Point(250, 450, SHOT)), BOX)
    assert reward(make(at(20, 40)), golden) == reward(make(at(29, 49)), golden) == 1
    assert reward(make(at(19, 45)), golden) == reward(make(at(25, 50)), golden) == 0


def test_long_press_is_not_a_click_at_the_right_place() -> None:
    assert reward(LongPress(at(25, 45), 1), Golden(Click(at(25, 45)), BOX)) == 0


@pytest.mark.parametrize(
    ("said", "meant", "worth"),
    [
        (Type(" Milk "), Type("milk"), 1),
        (Type("milk tea"), Type("milk"), 0),
        (Open("淘宝"), Open("淘宝 "), 1),
        (Key("volume_up"), Key("VOLUME_UP"), 1),
        (SystemButton("Home"), SystemButton("Back"), 0),
        (Open("Back"), SystemButton("Back"), 0),
        (Wait(9), Wait(1), 1),
        (Terminate("failure"), Terminate("success"), 1),
        (Terminate("success"), Wait(1), 0),
        (Reply("42 "), Reply("42"), 1),
        (Reply("42"), Type("42"), 0),
    ],
)
def test_arguments_match_without_case_and_outer_space_and_some_actions_by_type(said, meant, worth) -> None:
    assert reward(said, Golden(meant)) == worth


def test_point_without_a_box_counts_above_a_closeness_of_nine_tenths() -> None:
    golden = Golden(Click(Point(505, 1005, SHOT)))
    assert reward(Click(at(50, 100)), golden) == 1
    assert reward(Click(at(59, 119)), golden) == 1  # 1 - (0.09 + 0.095) / 2 = 0.9075
    assert reward(Click(at(61, 121)), golden) == 0  # 1 - (0.11 + 0.105) / 2 = 0.8925
    assert reward(Click(at(61, 121)), golden, StepRules(closeness=0.85)) == 1


def test_swipe_direction_uses_the_dominant_axis_and_ignores_the_box() -> None:
    golden = Golden(Swipe(Point(500, 1500, SHOT), Point(520, 500, SHOT)), BOX)
    rules = StepRules(swipe="direction")
    assert reward(Swipe(at(90, 190), at(70, 160)), golden, rules) == 1
    assert reward(Swipe(at(90, 160), at(70, 190)), golden, rules) == 0
    assert reward(Swipe(at(90, 190), at(10, 160)), golden, rules) == 0
    assert reward(Swipe(at(90, 190), at(90, 190)), golden, rules) == 0
    assert reward(Swipe(at(90, 190), at(70, 160)), golden) == 0  # by the paper's rule the start is outside the box


def test_golden_back_accepts_a_tap_on_the_back_element_if_the_rules_allow_it() -> None:
    golden = Golden(SystemButton("Back"), back_box=BOX)
    rules = StepRules(back_by_click=True)
    assert reward(Click(at(25, 45)), golden, rules) == 1
    assert reward(Click(at(25, 60)), golden, rules) == 0
    assert reward(Click(at(25, 45)), golden) == 0
    assert reward(Click(at(25, 45)), Golden(SystemButton("Home"), back_box=BOX), rules) == 0
    assert reward(Click(at(25, 45)), Golden(SystemButton("Back")), rules) == 0


def test_step_reward_is_action_plus_format_and_zero_if_malformed() -> None:
    golden = Golden(Open("Shop"))
    assert step_reward(Response("", "", Open("shop")), golden, PAPER) == 2
    assert step_reward(Response("", "", Open("Clock")), golden, PAPER) == 1
    assert step_reward(Malformed("no tags"), golden, PAPER) == 0


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="choose box or direction"):
        StepRules(swipe="angle")
