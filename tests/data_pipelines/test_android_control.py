"""AndroidControl is read from bytes encoded by the tables of its format."""

import json
from pathlib import Path

import pytest
from encoded import (
    android_control,
    bytes_feature,
    click,
    forest,
    int_feature,
    node,
    picture,
    write_records,
)

from data_pipelines.sources import SOURCES
from data_pipelines.sources.drafts import APPENDED, Completing
from mobile_r1_jax.agent.actions import (
    Click,
    LongPress,
    Malformed,
    Open,
    Swipe,
    SystemButton,
    Terminate,
    Type,
    Wait,
)
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.agent.responses import parse_response
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.agent.trajectory import Element, Trajectory

SOURCE, AS_IT_IS = SOURCES["android_control"], Completing()
FRAME = Frame("screenshot", 108, 240)
CALL = '<tool_call>{"name": "mobile_use", "arguments": {"action": "wait", "time": 2}}</tool_call>'


def at(x: int, y: int) -> Point:
    return Point(x, y, FRAME)


def read(path: Path, *records: bytes, completing: Completing = AS_IT_IS) -> list[Trajectory | Malformed]:
    return list(SOURCE.read(write_records(path / "android_control-00000-of-00020", *records), completing))


def read_one(path: Path, record: bytes) -> Trajectory:
    [one] = read(path, record)
    assert isinstance(one, Trajectory), one
    return one


ACTIONS = [
    (click(50, 60), Click(at(50, 60))),
    ({"action_type": "long_press", "x": 0, "y": 239}, LongPress(at(0, 239), 1)),
    ({"action_type": "scroll", "direction": "down"}, Swipe(at(54, 180), at(54, 60))),
    ({"action_type": "scroll", "direction": "up"}, Swipe(at(54, 60), at(54, 180))),
    ({"action_type": "scroll", "direction": "right"}, Swipe(at(81, 120), at(27, 120))),
    ({"action_type": "scroll", "direction": "left"}, Swipe(at(27, 120), at(81, 120))),
    ({"action_type": "input_text", "text": "Welsh <action> 蛋糕"}, Type("Welsh <action> 蛋糕")),
    ({"action_type": "open_app", "app_name": "Zoho Meeting"}, Open("Zoho Meeting")),
    ({"action_type": "navigate_home"}, SystemButton("Home")),
    ({"action_type": "navigate_back"}, SystemButton("Back")),
    ({"action_type": "wait"}, Wait(2)),
]


def test_an_episode_becomes_a_trajectory_with_every_action(tmp_path: Path) -> None:
    one = read_one(tmp_path, android_control(7, "Buy a cake", *(action for action, _ in ACTIONS)))
    assert (one.task, one.system, one.coordinates) == ("Buy a cake", "", "screenshot")
    assert one.origin == "android_control-00000-of-00020:1" and len(one.turns) == len(ACTIONS)
    for index, (turn, (_, meant)) in enumerate(zip(one.turns, ACTIONS, strict=True)):
        response = parse_response(turn.response, FRAME)
        assert (response.thought, response.sentence, response.action) == ("", f"step {index} of 7", meant)
        assert turn.screenshot == Screenshot(picture((108, 240), (7, index, 0)))


def test_the_box_of_a_click_is_the_smallest_visible_node_around_it(tmp_path: Path) -> None:
    screen = forest(
        node((0, 0, 108, 240), package="com.shop"),
        node((40, 50, 80, 90), described="Cart", package="com.shop"),
        node((45, 55, 56, 66), "hidden", visible=False),
        node((48, 58, 49, 59), "beside", package="com.shop"),
        node((60, 70, 60, 90), "empty"),
        node((-20, -5, 30, 20), "cut off"),
        node((200, 10, 300, 20), "off the screen"),
        node((40, 50, 80, 90), described="Cart"),  # twice
    )
    click_press = (
        click(50, 60),
        {"action_type": "long_press", "x": 50, "y": 60},
        click(100, 200),
        {"action_type": "wait"},
    )
    one = read_one(tmp_path, android_control(1, "x", *click_press, forests=[screen] * 5))
    assert [turn.bbox for turn in one.turns] == [(40, 50, 80, 90), (40, 50, 80, 90), (0, 0, 107, 239), None]
    assert one.turns[0].elements == (
        Element((0, 0, 107, 239)),
        Element((40, 50, 80, 90), "Cart"),
        Element((45, 55, 56, 66), "hidden"),
        Element((48, 58, 49, 59), "beside"),
        Element((0, 0, 30, 20), "cut off"),
    )
    assert one.app == "com.shop"


def test_app_is_the_most_frequent_foreground_package_before_the_launcher(tmp_path: Path) -> None:
    def screen(package: str, kind: int = 1) -> bytes:
        return forest(node((0, 0, 9, 9), package=package), kind=kind)

    home, shop, keyboard = screen("com.google.android.apps.nexuslauncher"), screen("com.shop"), screen("com.keys", 2)
    wait = {"action_type": "wait"}
    records = [
        android_control(1, "x", wait, wait, wait, forests=[home, home, home, shop]),
        android_control(2, "x", wait, forests=[home, keyboard]),
        android_control(3, "x", wait, accessibility_trees=None),
    ]
    assert [one.app for one in read(tmp_path, *records)] == ["com.shop", "com.google.android.apps.nexuslauncher", ""]


def test_terminate_is_added_on_the_last_screen_if_requested(tmp_path: Path) -> None:
    record = android_control(1, "x", {"action_type": "wait"}, click(5, 6))
    assert len(read_one(tmp_path, record).turns) == 2
    [one] = read(tmp_path, record, completing=Completing(terminate=True))
    last = one.turns[-1]
    assert len(one.turns) == 3 and last.screenshot == Screenshot(picture((108, 240), (1, 2, 0)))
    response = parse_response(last.response, FRAME)
    assert (response.thought, response.sentence, response.action) == ("", APPENDED, Terminate("success"))


def test_a_template_fills_in_missing_thoughts(tmp_path: Path) -> None:
    record = android_control(4, "Buy {it}", {"action_type": "wait"})
    [one] = read(tmp_path, record, completing=Completing(thought="{instruction}: {sentence}"))
    assert one.turns[0].response == f"<think>Buy {{it}}: step 0 of 4</think><action>step 0 of 4</action>{CALL}"
    record = android_control(4, "x", {"action_type": "wait"}, step_instructions=None)
    assert read_one(tmp_path, record).turns[0].response == f"<think></think><action></action>{CALL}"
    [one] = read(tmp_path, record, completing=Completing(thought="{instruction}"))
    assert one.turns[0].response == f"<think>x</think><action>Wait.</action>{CALL}"


def test_episode_has_its_subsets_of_the_test_split(tmp_path: Path) -> None:
    (tmp_path / "test_subsplits.json").write_text(json.dumps({"IDD": [7], "app_unseen": [1, 2], "task_unseen": [2, 9]}))
    records = [android_control(number, "x", {"action_type": "wait"}) for number in (1, 2, 3)]
    write_records(tmp_path / "android_control-00000-of-00020", *records)
    assert [one.subsets for one in SOURCE.read(tmp_path)] == [("app_unseen",), ("app_unseen", "task_unseen"), ()]


WAIT = {"action_type": "wait"}
BROKEN = [
    (android_control(1, "x", actions=None), "no action"),
    (android_control(1, "x"), "no action"),
    (
        android_control(1, "x", WAIT, WAIT, screenshots=bytes_feature(picture((108, 240)))),
        "1 screenshots for 2 actions",
    ),
    (android_control(1, "x", WAIT, b"{"), "step 1: the action is not JSON"),
    (android_control(1, "x", b"[" * 100_000), "step 0: the action is not JSON"),
    (android_control(1, "x", b'{"action_type": "wait"'), "step 0: the action is not JSON"),
    (android_control(1, "x", [1]), "step 0: the action must be dict"),
    (android_control(1, "x", {"action": "click"}), "step 0: action_type is missing"),
    (android_control(1, "x", {"action_type": "dance"}), "step 0: action_type 'dance' has no counterpart"),
    (
        android_control(1, "x", {"action_type": "type", "x": 1, "y": 2, "text": "a"}),
        "action_type 'type' has no counterpart",
    ),
    (android_control(1, "x", {"action_type": "click", "x": 1}), "step 0: y is missing"),
    (android_control(1, "x", click(108, 5)), "step 0: click at (108, 5) is outside the 108x240 picture"),
    (android_control(1, "x", click(5, -1)), "step 0: click at (5, -1) is outside"),
    (android_control(1, "x", {"action_type": "click", "x": 1.5, "y": 2}), "step 0: x must be int"),
    (android_control(1, "x", {"action_type": "scroll", "direction": "in"}), "step 0: scroll direction 'in' is none of"),
    (android_control(1, "x", {"action_type": "open_app", "app_name": " "}), "step 0: open: text must not be empty"),
    (android_control(1, "x", b'{"action_type": "input_text", "text": "\\ud800"}'), "text is not valid Unicode"),
    (android_control(1, "x", WAIT, screenshots=bytes_feature(b"GIF89a", b"")), "step 0: screenshot is no PNG"),
    (
        android_control(1, "x", WAIT, screenshots=bytes_feature(*[picture((108, 240))[:-9]] * 2)),
        "step 0: screenshot is cut",
    ),
    (
        android_control(1, "x", WAIT, screenshot_widths=int_feature(108, 240)),
        "step 1: the picture is 108x240, but 240x240",
    ),
    (android_control(1, "x", WAIT, screenshot_heights=int_feature(240)), "1 screenshot_heights, there must be 2"),
    (android_control(1, "x", WAIT, accessibility_trees=bytes_feature(b"")), "1 accessibility_trees, there must be 2"),
    (
        android_control(1, "x", WAIT, forests=[forest(), b"\x0a\xff"]),
        "step 1: the accessibility forest cannot be decoded",
    ),
    (android_control(1, "x", WAIT, step_instructions=bytes_feature("a", "b")), "2 step_instructions, there must be 1"),
    (android_control(1, "x", WAIT, step_instructions=bytes_feature(b"\xff")), "step 0: step_instructions is not UTF-8"),
    (android_control(1, "x", WAIT, step_instructions=bytes_feature("see <think>")), "step 0: cannot print a response"),
    (android_control(1, "x", WAIT, goal=None), "goal must have one value, has 0"),
    (android_control(1, "x", WAIT, goal=bytes_feature(b"\xff")), "goal is not UTF-8"),
    (android_control(1, "x", WAIT, goal=int_feature(4)), "goal must be a list of bytes"),
    (android_control(1, "x", WAIT, episode_id=int_feature(1, 2)), "episode_id must have one value, has 2"),
    (b"\xff" * 20, "the record cannot be decoded"),
]


@pytest.mark.parametrize(("record", "reason"), BROKEN, ids=[reason for _, reason in BROKEN])
def test_broken_episode_is_reported_with_file_and_record(tmp_path: Path, record: bytes, reason: str) -> None:
    good = android_control(9, "good", WAIT)
    before, broken, after = read(tmp_path, good, record, good)
    assert isinstance(broken, Malformed)
    assert broken.reason.startswith("android_control-00000-of-00020:2: ") and reason in broken.reason
    assert "\n" not in broken.reason
    assert isinstance(before, Trajectory) and isinstance(after, Trajectory) and before.task == after.task == "good"
