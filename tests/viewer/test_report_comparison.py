"""The same tasks in every evaluation: matched by id, chosen independently of outcomes."""

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from mobile_r1_jax.agent.actions import Terminate
from mobile_r1_jax.agent.frames import Frame
from mobile_r1_jax.agent.progress import Progress
from mobile_r1_jax.agent.trajectory import Ending
from mobile_r1_jax.tasks.task import Task
from mobile_r1_jax.viewer import write_report
from mobile_r1_jax.viewer.reading import SHOWN, Strip, TurnView
from mobile_r1_jax.viewer.selection import same_tasks

Play = Callable[..., None]
BUY = Task("shop", "Buy tea", {"template": "buy", "parameters": {"item": "tea"}, "seed": 1, "popups": 0})
TURN = TurnView("a.png", Frame("screenshot", 112, 224), "", "", None)


def strips(*ids: str, ending: Ending = Ending.FAILURE, task: str = "Buy tea") -> tuple[Strip, ...]:
    return tuple(Strip(line, task, "shop", ending, {}, (TURN,), task_id) for line, task_id in enumerate(ids, 1))


def shown(*evaluations: tuple[Strip, ...], most: int = SHOWN) -> list[list[tuple[str, int]]]:
    """Return (id, line) of the trajectories that each evaluation shows."""
    compared, _ = same_tasks(evaluations, most)
    return [[(strip.task_id, strip.line) for strip in found] for found in compared]


@pytest.mark.parametrize(
    "other",
    [
        replace(BUY, app="bazaar"),
        replace(BUY, instruction="Please buy tea"),
        replace(BUY, setup={**BUY.setup, "template": "order"}),
        replace(BUY, setup={**BUY.setup, "parameters": {"item": "milk"}}),
        replace(BUY, setup={**BUY.setup, "seed": 2}),
        replace(BUY, setup={**BUY.setup, "popups": 1}),
        replace(BUY, setup={}),
    ],
    ids=["app", "instruction", "template", "parameters", "seed", "pop-ups", "no setup"],
)
def test_id_of_a_task_includes_its_setup(other: Task) -> None:
    same = Task("shop", "Buy tea", dict(reversed(BUY.setup.items())))
    assert BUY.id == same.id == "46adc026f9c48234" and other.id != BUY.id


def test_tasks_with_equal_instructions_and_different_setups_are_never_compared(run: Path, play: Play, make) -> None:
    ids = [replace(BUY, setup={**BUY.setup, "seed": seed}).id for seed in range(5)]
    play("evaluation-base", *(make(Terminate("success"), task="Buy tea", task_id=ids[index]) for index in (0, 1, 2, 3)))
    play("evaluation-last", *(make(Terminate("success"), task="Buy tea", task_id=ids[index]) for index in (4, 3, 1)))
    page = write_report(run).read_text()
    for part in ("base", "last"):
        section = page.split(f'<section data-part="evaluation-{part}"')[1].split("</section>")[0]
        compared, chosen = section.split("Selected")
        assert re.findall(r'data-task="(\w+)"', compared) == [ids[1], ids[3]]
        assert not set(re.findall(r'data-task="(\w+)"', chosen)) & {ids[1], ids[3]}
    assert "2 of the 2 tasks that every evaluation played are compared" in page


def test_first_episode_of_a_repeated_task_is_shown_even_if_a_later_one_succeeds() -> None:
    base = strips("a", "b", "a", "a")
    last = (*strips("b", "a"), *strips("", "", "a", "b", ending=Ending.SUCCESS)[2:])
    assert shown(base, last) == [[("a", 1), ("b", 2)], [("a", 2), ("b", 1)]]


def test_task_missing_in_one_stage_is_not_shown() -> None:
    assert shown(strips("a", "b", "c"), strips("c", "a"), strips("a", "b", "c")) == [
        [("a", 1), ("c", 3)],
        [("a", 2), ("c", 1)],
        [("a", 1), ("c", 3)],
    ]
    compared, said = same_tasks([strips("a", "b"), strips("c")], SHOWN)
    assert compared == [(), ()] and said.startswith("No task was played in every evaluation")


def test_choice_of_shown_tasks_does_not_depend_on_outcomes() -> None:
    ids = [f"{index:03}" for index in range(60)]
    count, seen = 0, set()
    for seed in range(200):
        rng = Random(seed)
        stages = [
            tuple(
                replace(strip, ending=rng.choice([Ending.SUCCESS, Ending.FAILURE]), scores={"off_path": seed % 2})
                for strip in strips(*ids, *ids)  # every task twice
            )
            for _ in range(3)
        ]
        compared, _ = same_tasks(stages, SHOWN)
        seen.add(tuple(tuple((strip.task_id, strip.line) for strip in found) for found in compared))
        count += sum(strip.ending is Ending.SUCCESS for found in compared for strip in found)
    assert len(seen) == 1
    assert count / (200 * 3 * SHOWN) == pytest.approx(0.5, abs=0.03)  # three standard errors are 0.018


def test_compared_tasks_are_spread_over_all_drawn_tasks() -> None:
    ids = [f"{index:03}" for index in range(60)]
    (first, _) = shown(strips(*ids), strips(*reversed(ids)))
    assert [int(task_id) for task_id, _ in first] == [*range(0, 60, 5)]
    assert shown(strips(*ids), strips(*ids), most=100)[0] == [(task_id, int(task_id) + 1) for task_id in ids]


def test_run_without_ids_is_compared_by_index_if_instructions_are_equal(run: Path, play: Play, make) -> None:
    tasks = ["Buy tea", "Buy milk", "Buy tea"]
    for stage, ending in (("base", Ending.FAILURE), ("last", Ending.SUCCESS)):
        play(f"evaluation-{stage}", *(make(Terminate("success"), task=task, ending=ending) for task in tasks))
    page = write_report(run).read_text()
    assert re.findall(r'data-task="([^"]*)"', page) == ["place 1", "place 2", "place 3"] * 2
    assert "no task ids; tasks are matched by their place in equal lists" in page


def without_first(strips: tuple[Strip, ...]) -> tuple[Strip, ...]:
    return strips[1:]


def swapped(strips: tuple[Strip, ...]) -> tuple[Strip, ...]:
    return (strips[1], strips[0], *strips[2:])


@pytest.mark.parametrize(
    "change",
    [
        without_first,
        swapped,
        lambda strips: (*strips, strips[0]),
        lambda strips: (replace(strips[0], app="bazaar"), *strips[1:]),
        lambda strips: (replace(strips[0], progress=Progress(False, 9, 9, 0, 9)), *strips[1:]),
        lambda strips: (replace(strips[0], task_id="a"), *without_first(strips)[:1]),
    ],
    ids=["one missing", "another order", "a repeat", "another app", "another distance", "some with ids, one missing"],
)
def test_run_without_ids_is_incomparable_if_instructions_differ(change) -> None:
    old = (*strips("", task="Buy tea"), *strips("", task="Buy milk"), *strips("", task="Buy tea"))
    for evaluations in itertools.permutations((old, old, change(old))):
        compared, said = same_tasks(evaluations, SHOWN)
        assert compared == [(), (), ()] and said.startswith("The evaluations cannot be compared task by task")


def test_incomparable_trajectory_has_no_link_to_the_same_task(run: Path, play: Play, make) -> None:
    play("evaluation-base", make(Terminate("success"), task="Buy tea"), make(Terminate("success"), task="Buy milk"))
    play("evaluation-last", make(Terminate("success"), task="Buy milk"))
    page = write_report(run).read_text()
    assert "data-task=" not in page and 'class="task" title' not in page
    assert "The evaluations cannot be compared task by task" in page
