"""The oracle finishes every task, from its start and after a random walk, or reports that it is impossible."""

from random import Random

import pytest

from mobile_r1_jax.phones.simulator import gestures, oracle
from mobile_r1_jax.phones.simulator.apps import LABELS, TEMPLATES
from mobile_r1_jax.phones.simulator.apps.shop.app import ITEMS
from mobile_r1_jax.phones.simulator.oracle import MOST_STEPS
from mobile_r1_jax.phones.simulator.state import State
from mobile_r1_jax.phones.simulator.tasks import Placed, combinations, place
from mobile_r1_jax.phones.simulator.templates import Move, Template

SIZE = (112, 224)
KEYS = ("BACK", "HOME", "MENU", "ENTER", "VOLUME_UP", "VOLUME_DOWN")
TEXTS = (*ITEMS[:4], "Hello", "Wake", "Swim", "no such thing", "")


def follow(placed: Placed, most: int = 2 * MOST_STEPS) -> int | None:
    """Let the oracle play; return its number of steps including `finish`, or None if it does not end."""
    for step in range(1, most + 1):
        move = oracle.next_move(placed.state, placed.goals)
        if move.kind == "finish":
            return step
        oracle.apply_move(placed.state, move)
    return None


def wander(state: State, rng: Random, steps: int) -> None:
    """Perform a random input on the current page."""
    for _ in range(steps):
        kind = rng.choices(("touch", "anywhere", "swipe", "key", "type", "open"), (55, 10, 7, 13, 8, 7))[0]
        touchable = [element for element in gestures.screen_of(state).elements if element.touchable]
        if kind == "touch" and touchable:
            touch = gestures.tap if rng.random() < 0.75 else gestures.long_press
            touch(state, *rng.choice(touchable).center(SIZE), SIZE)
        elif kind == "anywhere":
            gestures.tap(state, rng.randrange(SIZE[0]), rng.randrange(SIZE[1]), SIZE)
        elif kind == "swipe":
            gestures.swipe(state, rng.randrange(SIZE[1]), rng.randrange(SIZE[1]), SIZE)
        elif kind == "key":
            gestures.press(state, rng.choice(KEYS))
        elif kind == "type":
            gestures.type_text(state, rng.choice(TEXTS))
        elif kind == "open":
            oracle.apply_move(state, Move("open", rng.choice(list(LABELS))))


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("popups", [0, 3])
def test_every_task_starts_undone_and_takes_the_reported_number_of_steps(template: Template, popups: int) -> None:
    for parameters in combinations(template, held_out=True) + combinations(template, held_out=False):
        setup = {"template": template.name, "parameters": parameters, "seed": len(str(parameters)), "popups": popups}
        placed = place(setup)
        assert not placed.progress()["done"] and 2 <= placed.start == placed.progress()["remaining"]
        steps = follow(placed)
        progress = placed.progress()
        assert (
            progress["done"] and steps == progress["shortest"] <= MOST_STEPS - 3
        )  # steps left for a mistake and its undoing
        assert progress["milestones"] == [placed.start - 1] * 2 and progress["remaining"] == 1


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_oracle_finishes_after_a_random_walk_unless_the_task_is_impossible(template: Template) -> None:
    rng, lost = Random(template.name), 0
    for _ in range(25):
        parameters = rng.choice(combinations(template, held_out=False))
        setup = {"template": template.name, "parameters": parameters, "seed": rng.getrandbits(32), "popups": 2}
        placed = place(setup)
        wander(placed.state, rng, rng.randint(1, 25))
        placed.state.waiting = []  # `remaining` does not count pop-ups that open later
        remaining = oracle.remaining(placed.state, placed.goals)
        steps = follow(placed)
        if steps is None:
            assert remaining == MOST_STEPS
            lost += 1
        else:
            assert remaining == min(steps, MOST_STEPS)
    assert lost <= 5  # some walks delete the object of the task


def test_every_step_of_the_oracle_reduces_the_remaining_steps_by_one() -> None:
    rng = Random(0)
    for template in TEMPLATES.values():
        parameters = rng.choice(combinations(template, held_out=False))
        placed = place({"template": template.name, "parameters": parameters, "seed": 1})
        wander(placed.state, rng, 6)
        while (move := oracle.next_move(placed.state, placed.goals)).kind != "finish":
            before = oracle.remaining(placed.state, placed.goals)
            if before == MOST_STEPS:
                break
            oracle.apply_move(placed.state, move)
            assert oracle.remaining(placed.state, placed.goals) == before - 1


def test_task_with_a_deleted_object_is_impossible() -> None:
    placed = place({"template": "silence", "parameters": {"name": "Anna"}, "seed": 0})
    placed.state.data["messages"]["chats"].remove("Anna")
    assert placed.progress()["remaining"] == MOST_STEPS and follow(placed) is None


def test_counting_the_remaining_steps_does_not_change_the_phone() -> None:
    placed = place({"template": "cart_add", "parameters": {"item": "Lamp"}, "seed": 0, "popups": 3})
    before = placed.state.copy()
    oracle.remaining(placed.state, placed.goals)
    assert placed.state == before


def test_oracle_leaves_a_wrong_text_unsent() -> None:
    placed = place({"template": "send", "parameters": {"name": "Bob", "word": "Hello"}, "seed": 0})
    placed.state.push("messages/home")
    placed.state.push("messages/chat/Bob")
    gestures.type_text(placed.state, "Sorry")
    assert oracle.next_move(placed.state, placed.goals) == Move("button", "Back")
    follow(placed)
    assert placed.state.data["messages"]["sent"] == {"Bob": ["Hello"]}


def test_oracle_scrolls_down_and_up_to_hidden_rows() -> None:
    placed = place({"template": "settings_page", "parameters": {"page": "About"}, "seed": 0})
    rows = placed.state.data["settings"]["rows"]
    rows.remove("About")
    rows.append("About")
    placed.state.launch("settings")
    assert oracle.next_move(placed.state, placed.goals) == Move("swipe", "up")
    rows.remove("About")
    rows.insert(0, "About")
    gestures.swipe(placed.state, 168, 56, SIZE)
    assert oracle.next_move(placed.state, placed.goals) == Move("swipe", "down")


def test_oracle_dismisses_a_pop_up_first() -> None:
    placed = place({"template": "switch", "parameters": {"name": "Wifi", "value": "on"}, "seed": 0, "popups": 3})
    while placed.state.popup is None:
        oracle.apply_move(placed.state, oracle.next_move(placed.state, placed.goals))
    assert oracle.next_move(placed.state, placed.goals) == Move("tap", placed.state.popup.dismiss)
