"""Scores of predictions, worked out by hand, their groups, disagreements, tables and JSON result."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from mobile_r1_jax.agent.actions import Action, Click, LongPress, Malformed, Swipe, SystemButton, Terminate, Type, Wait
from mobile_r1_jax.agent.errors import OneLineError
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.evaluation.metrics import Share
from mobile_r1_jax.evaluation.offline.judging import GoldenStep
from mobile_r1_jax.evaluation.offline.predictions import Prediction, write_prediction
from mobile_r1_jax.evaluation.offline.rules import RULES
from mobile_r1_jax.evaluation.offline.scores import Scores, judge_step, rule_names, score_predictions
from mobile_r1_jax.evaluation.offline.tables import (
    COLUMNS,
    disputed_table,
    groups_table,
    offline_table,
    policies_table,
    print_scores,
    remarks,
)

SCREEN, MODEL = Frame("screenshot", 1000, 1000), Frame("model", 500, 500)
TYPE, OTHER = Type("shoes"), Type("hat")


def predict(trajectory: int, step: int, golden: Action, answer: Action | Malformed, **changes: object) -> Prediction:
    one = Prediction(f"d:{trajectory}", step, GoldenStep(golden, SCREEN), MODEL, answer)
    return replace(one, **changes)


def judge(predictions: Sequence[Prediction], rules: Sequence[str] = ("gui_odyssey",)) -> Scores:
    return Scores(tuple(rules), tuple(judge_step(one, rules) for one in predictions))


def typed(*rights: Sequence[int], **changes: object) -> list[Prediction]:
    """Return trajectories of typing whose answers are right or not."""
    return [
        predict(number, step, TYPE, TYPE if right else OTHER, steps=len(of_one), **changes)
        for number, of_one in enumerate(rights)
        for step, right in enumerate(of_one)
    ]


def click(x: int, frame: Frame = MODEL) -> Click:
    return Click(Point(x, 0, frame))


def text(*tables: object) -> str:
    console = Console(file=io.StringIO(), width=300)
    for table in tables:
        console.print(table)
    return console.file.getvalue()


def test_scores_equal_values_worked_out_by_hand() -> None:
    """Two episodes, right 1, 1, 0, 1 and 1, 1, all types right: 83.33, 100, 75 and 50 per cent."""
    score = judge(typed((1, 1, 0, 1), (1, 1))).of("gui_odyssey")
    assert score.accuracy == Share(5, 6) and score.type_match == Share(6, 6)
    assert score.goal_progress == 0.75 and score.success == Share(1, 2)
    assert score.argument_errors == 1 and score.format_errors == 0


def test_trajectory_without_its_last_step_is_not_in_the_success_rate() -> None:
    """The same without the last step of the first episode: 80 per cent of the steps, success 1 of 1."""
    scores = judge([one for one in typed((1, 1, 0, 1), (1, 1)) if one.key != ("d:0", 3)])
    score = scores.of("gui_odyssey")
    assert score.accuracy == Share(4, 5) and score.success == Share(1, 1) and scores.incomplete == 1
    assert "1 trajectories lack some" in next(remarks(scores))


def test_trajectory_counts_as_complete_if_the_number_of_steps_is_unknown() -> None:
    scores = judge([replace(one, steps=None) for one in typed((1, 1), (0, 1, 1))])
    assert scores.of("gui_odyssey").success == Share(1, 2) and scores.incomplete == 0
    assert scores.of("gui_odyssey").goal_progress == 0.5


def test_steps_in_any_order_give_the_same_scores() -> None:
    every = typed((1, 1, 0, 1), (0, 1, 1), (1,))
    assert judge(every[::-1]).of("gui_odyssey") == judge(every).of("gui_odyssey")


@pytest.mark.parametrize(
    ("unread", "expected"), [(0, {"os_atlas": Share(6, 8), "clawgui": Share(6, 10)}), (1, {"clawgui": Share(6, 9)})]
)
def test_grounding_counts_clicks_of_ten_golden_clicks(unread: int, expected: dict[str, Share]) -> None:
    """8 answers are clicks, of which 6 are right: 75 per cent for OS-Atlas, 60 for ClawGUI, 66.7 with one unread."""
    answers = [click(250)] * 6 + [click(499)] * 2 + [Wait(1), Terminate("success") if unread else Wait(1)]
    rules = ("os_atlas", "clawgui")
    scores = judge([predict(0, step, click(500, SCREEN), answer) for step, answer in enumerate(answers)], rules)
    for rule, share in expected.items():
        assert scores.of(rule).grounding == share


def test_steps_outside_the_data_of_a_rule_set_are_not_counted() -> None:
    scores = judge(
        [
            predict(0, 0, Wait(1), Wait(1), steps=3),
            predict(0, 1, TYPE, TYPE, steps=3),
            predict(0, 2, Terminate("success"), Malformed("no call"), steps=3),
            predict(1, 0, Wait(1), Malformed("no call"), steps=1),
        ],
        tuple(RULES),
    )
    odyssey, qwen, atlas = (scores.of(rule) for rule in ("gui_odyssey", "qwen", "aitw"))
    assert odyssey.accuracy == Share(1, 2) and odyssey.success == Share(0, 1) and odyssey.format_errors == 1
    assert qwen.accuracy == Share(2, 3) and qwen.success == Share(1, 2) and qwen.format_errors == 1
    assert atlas.accuracy == Share(1, 2)
    assert scores.format_errors == [("no call", 2)]
    assert any("whose golden action occurs in its own data" in line for line in remarks(scores))


def test_scores_are_grouped_by_action_app_subset_and_seen_apps() -> None:
    predictions = [
        *typed((1, 0), app="shop", seen=True, subsets=("a", "b")),
        predict(5, 0, click(500, SCREEN), click(499), app="clock", seen=False, subsets=("a",)),
    ]
    groups = judge(predictions).groups("gui_odyssey")
    assert {kind: list(members) for kind, members in groups.items()} == {
        "action": ["type", "click"],
        "apps": ["seen", "unseen"],
        "subset": ["a", "b"],
        "app": ["shop", "clock"],
    }
    assert groups["action"]["type"].accuracy == Share(1, 2) and groups["action"]["type"].success == Share(0, 0)
    assert groups["apps"]["unseen"].argument_errors == 1 and groups["app"]["shop"].success == Share(0, 1)
    assert groups["subset"]["a"].accuracy == Share(1, 3) and groups["subset"]["b"].accuracy == Share(1, 2)
    shown = text(groups_table(judge(predictions), "gui_odyssey"))
    assert all(words in shown for words in ("seen apps", "unseen apps", "app shop", "action type", "subset b"))


def test_steps_with_disagreeing_rule_sets_are_listed() -> None:
    up = Swipe(Point(500, 900, SCREEN), Point(500, 100, SCREEN))
    predictions = [
        predict(10, 0, TYPE, TYPE),
        predict(2, 1, up, Swipe(Point(250, 50, MODEL), Point(250, 450, MODEL))),
        predict(2, 0, Wait(1), Terminate("success")),
        predict(3, 0, SystemButton("Back"), Malformed("[red]no call[/red]")),
    ]
    scores = judge(predictions, ("qwen", "agentcpm", "aitw"))
    assert [(one.trajectory, one.step, one.cells) for one in scores.disputed] == [
        ("d:2", 0, ("0", "2", "-")),
        ("d:2", 1, ("2", "1", "2")),
    ]
    assert "disagree on 2 of 4 steps" in text(disputed_table(scores))
    assert any("[red]no call[/red]" in line for line in remarks(scores))
    many = judge([predict(n, 0, Wait(1), Terminate("success")) for n in range(50)], ("qwen", "agentcpm"))
    shown = text(disputed_table(many))
    assert "50 of 50 steps, the first 20" in shown and shown.count("d:") == 20


def test_prediction_files_are_scored_without_the_policy(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    for one in [*typed((1, 0), (1,), made_by="x"), predict(9, 0, click(500, SCREEN), LongPress(Point(1, 1, MODEL), 1))]:
        write_prediction(file, replace(one, made_by="x"))
    with file.open("a") as opened:
        opened.write("{}\n")
    scores = score_predictions(file)
    assert scores.rules == tuple(RULES) and len(scores.steps) == 4
    assert scores.broken == (f"{file}:5: size is missing",)
    output = io.StringIO()
    print_scores(scores, Console(file=output, width=300), "Mine", tmp_path / "result.json")
    shown = output.getvalue()
    assert all(column.split()[0] in shown for column in COLUMNS)
    assert all(RULES[rule].title in text(offline_table(scores)) for rule in RULES) and "1 lines left out" in shown
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["rules"]["mobile_r1"]["accuracy"]["hits"] == 2 and result["steps"] == 4
    assert set(result["rules"]["aitw"]["groups"]) == {"action", "apps", "subset", "app"}
    assert [step["verdicts"]["aitw"] for step in result["disputed"]] == ["2"]  # it never compares typed texts
    assert "50.0" in text(policies_table({"base": scores, "[b]stage 1": scores}, "Mine"))


def test_files_that_cannot_be_scored_give_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text("{}\n[]\n")
    with pytest.raises(OneLineError, match=r"no usable prediction, 2 broken lines; the first: .*p\.jsonl:1: size"):
        score_predictions(file)
    file.write_text("")
    for step, maker in enumerate(("x", "y")):
        write_prediction(file, predict(0, step, TYPE, TYPE, made_by=maker))
    with pytest.raises(OneLineError, match="predictions of 2 policies or settings"):
        score_predictions(file)


def test_rule_sets_are_chosen_by_name() -> None:
    assert rule_names("all") == tuple(RULES) and rule_names("qwen, aitw,qwen") == ("qwen", "aitw")
    for wrong in ("", "Qwen", "qwen;aitw"):
        with pytest.raises(OneLineError, match="there is no rule set"):
            rule_names(wrong)
