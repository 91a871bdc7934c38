"""Tasks: templates, languages, draws, held-out parameters and progress."""

import json
import re
from itertools import product
from string import Formatter

import pytest

from mobile_r1_jax.phones.simulator import oracle
from mobile_r1_jax.phones.simulator.apps import TEMPLATES
from mobile_r1_jax.phones.simulator.gestures import POPUPS
from mobile_r1_jax.phones.simulator.tasks import combinations, draw_tasks, held_out_instructions, place
from mobile_r1_jax.phones.simulator.templates import Move, Template

APPS = ("settings", "shop", "messages", "clock", "launcher")
SETUP = {"template": "switch", "parameters": {"name": "Wifi", "value": "on"}, "seed": 0, "popups": 1}


def named(wording: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(wording) if name}


def instructions(template: Template, *, held_out: bool) -> set[str]:
    wordings = (template.english, template.chinese)
    return {w.format(**p) for p in combinations(template, held_out=held_out) for w in wordings}


def test_at_least_25_templates_cover_five_apps() -> None:
    assert len(TEMPLATES) >= 25 and {template.app for template in TEMPLATES.values()} == set(APPS)


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_english_and_chinese_instructions_have_the_same_parameters(template: Template) -> None:
    assert template.english.isascii() and re.search(r"[\u4e00-\u9fff]", template.chinese)
    assert named(template.english) == named(template.chinese) <= set(template.domains)


def test_tasks_with_equal_instructions_have_equal_goals() -> None:
    """Only the start page may differ: an agent cannot distinguish the tasks otherwise."""
    seen: dict[str, tuple[str, tuple[str, ...]]] = {}
    for template in TEMPLATES.values():
        for parameters in combinations(template, held_out=True) + combinations(template, held_out=False):
            meant = (template.name, tuple(parameters[name] for name in sorted(named(template.english))))
            for wording in (template.english, template.chinese):
                assert seen.setdefault(wording.format(**parameters), meant) == meant


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_one_in_eight_parameters_is_held_out_without_shared_instructions(template: Template) -> None:
    held, kept = combinations(template, held_out=True), combinations(template, held_out=False)
    every = [dict(zip(template.domains, values, strict=True)) for values in product(*template.domains.values())]
    assert sorted(map(str, held + kept)) == sorted(map(str, every)) and kept
    assert len(held) == (len(every) // 8 if named(template.english) else 0)
    assert not instructions(template, held_out=True) & instructions(template, held_out=False)


def test_training_and_evaluation_tasks_never_share_an_instruction() -> None:
    training = draw_tasks(600, seed=0, apps=APPS, held_out=False, popups=0.5)
    held_out = draw_tasks(600, seed=0, apps=APPS, held_out=True, popups=0.5)
    assert {task.instruction for task in held_out} <= held_out_instructions()
    assert not {task.instruction for task in training} & held_out_instructions()
    assert {json.dumps(t.setup["parameters"]) + t.setup["template"] for t in training}.isdisjoint(
        json.dumps(t.setup["parameters"]) + t.setup["template"] for t in held_out
    )


def test_drawn_tasks_cover_exactly_the_templates_of_the_requested_apps() -> None:
    tasks = draw_tasks(13, seed=1, apps=("settings", "shop"), held_out=False, popups=0)
    wanted = {template.name for template in TEMPLATES.values() if template.app in ("settings", "shop")}
    assert len(wanted) == 13 and {task.setup["template"] for task in tasks} == wanted
    assert all(task.app in ("settings", "shop") for task in tasks)


def test_evaluated_templates_are_those_with_held_out_parameters() -> None:
    training, held_out = (
        {
            task.setup["template"]
            for task in draw_tasks(60, seed=1, apps=APPS, held_out=out, popups=0, evaluated=not out)
        }
        for out in (False, True)
    )
    assert training == held_out < {template.name for template in TEMPLATES.values()}


def test_some_instructions_are_chinese_and_pop_ups_have_the_requested_rate() -> None:
    tasks = draw_tasks(800, seed=2, apps=APPS, held_out=False, popups=1.25)
    chinese = sum(not task.instruction.isascii() for task in tasks) / len(tasks)
    popups = sum(task.setup["popups"] for task in tasks) / len(tasks)
    assert 0.24 < chinese < 0.36 and 1.18 < popups < 1.32


def test_seed_determines_the_drawn_tasks() -> None:
    def draw(seed: int) -> list:
        return draw_tasks(20, seed=seed, apps=APPS, held_out=False, popups=0.5)

    assert draw(0) == draw(0) != draw(1)


def test_error_for_apps_without_tasks_names_apps_with_tasks() -> None:
    with pytest.raises(ValueError, match=r"\['camera'\].*clock.*shop"):
        draw_tasks(1, seed=0, apps=("camera",), held_out=False, popups=0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"template": "nosuch"}, "nosuch"),
        ({"template": ["switch"]}, "template"),
        ({"parameters": {"name": "Wifi"}}, "value"),
        ({"parameters": {"name": "Lamp", "value": "on"}}, "Lamp"),
        ({"parameters": {"name": "Wifi", "value": "on", "page": "About"}}, "About"),
        ({"parameters": {"name": ["Wifi"], "value": "on"}}, "Wifi"),
        ({"parameters": 5}, "parameters"),
        ({"seed": []}, "seed"),
        ({"popups": "many"}, "many"),
        ({"popups": -1}, "negative"),
        ({"pop_ups": 1}, "pop_ups"),
    ],
)
def test_wrong_setup_is_a_one_line_error_that_names_it(change: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        place(SETUP | change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["template", "parameters", "seed"])
def test_incomplete_setup_error_names_the_required_keys(missing: str) -> None:
    with pytest.raises(ValueError, match="takes template, parameters, seed, popups"):
        place({name: value for name, value in SETUP.items() if name != missing})


def test_task_survives_json() -> None:
    for task in draw_tasks(28, seed=3, apps=APPS, held_out=False, popups=1):
        assert place(json.loads(json.dumps(task.setup))).state == place(task.setup).state


@pytest.mark.parametrize("popups", [0, 1, 3])
def test_first_pages_show_the_number_of_pop_ups_in_the_setup(popups: int) -> None:
    placed = place(SETUP | {"popups": popups})
    shown = set()
    for page in ("settings/Display", "settings/Sound", "settings/About", "settings/Battery", "shop/me", "shop/cart"):
        placed.state.push(page)
        if placed.state.popup:
            shown.add(placed.state.popup.title)
            placed.state.back()
    assert len(shown) == placed.state.popups_shown == popups <= len(POPUPS)


def test_milestones_are_steps_of_the_shortest_path_and_never_decrease() -> None:
    placed = place({"template": "cart_add", "parameters": {"item": "Lamp"}, "seed": 0})
    assert placed.progress() == {"done": False, "remaining": 6, "shortest": 6, "milestones": [0, 5]}
    oracle.apply_move(placed.state, Move("open", "Camera"))
    assert placed.progress()["milestones"] == [0, 5]
    reached = []
    for _ in range(3):
        oracle.apply_move(placed.state, oracle.next_move(placed.state, placed.goals))
        reached.append(placed.progress()["milestones"][0])
    assert reached == [1, 2, 3]
    oracle.apply_move(placed.state, Move("button", "Home"))
    assert placed.progress() == {"done": False, "remaining": 6, "shortest": 6, "milestones": [3, 5]}


def test_only_pop_ups_before_the_last_page_lengthen_the_shortest_path() -> None:
    placed = place({"template": "pay", "parameters": {}, "seed": 0})
    placed.state.waiting = [(2, POPUPS[0]), (3, POPUPS[1])]
    turns = 1
    while (move := oracle.next_move(placed.state, placed.goals)).kind != "finish":
        oracle.apply_move(placed.state, move)
        turns += 1
    assert placed.state.popups_shown == 2 and placed.state.popup is not None
    assert placed.progress()["done"] and placed.progress()["shortest"] == turns == placed.start + 1
