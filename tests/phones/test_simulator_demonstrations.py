"""The oracle's annotated trajectories parse, tap the intended elements, and undo their mistakes."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from mobile_r1_jax.agent.actions import Click, LongPress, Swipe, Terminate
from mobile_r1_jax.agent.frames import Box, Frame
from mobile_r1_jax.agent.responses import Response, parse_response
from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, read_trajectories, write_trajectories
from mobile_r1_jax.phones.simulator.apps import APPS, TEMPLATES
from mobile_r1_jax.phones.simulator.demonstrations import annotate
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.phones.simulator.tasks import draw_tasks
from mobile_r1_jax.tasks.task import Task

ALL_APPS = ("settings", "shop", "messages", "clock", "launcher")
TASKS = draw_tasks(len(TEMPLATES), seed=0, apps=ALL_APPS, held_out=False, popups=0.5)
DEMO = ((112, 224), Resizing(scale=1.0))
PHONE = ((1080, 2400), Resizing())  # seen at 448x952 pixels or so


def write(
    tasks: list[Task], *, mistakes: float = 0.0, seed: int = 0, size=DEMO[0], resizing=DEMO[1]
) -> list[Trajectory]:
    system = "Phone. Task: {instruction}"
    return list(annotate(tasks, system=system, size=size, resizing=resizing, mistakes=mistakes, seed=seed))


def read(trajectory: Trajectory, resizing: Resizing = DEMO[1]) -> list[Response]:
    """Return the trajectory's parsed responses, in model pixels."""
    answers = [parse_response(turn.response, resizing.model_frame(turn.screenshot)) for turn in trajectory.turns]
    assert all(isinstance(answer, Response) for answer in answers), answers
    return answers


def play(task: Task, trajectory: Trajectory, size: tuple[int, int], resizing: Resizing) -> Device:
    """Perform a trajectory on a phone, and check that the phone shows its screenshots."""
    device, frame = Device(size=size), Frame("device", *size)
    device.reset(task.setup)
    for turn, answer in zip(trajectory.turns, read(trajectory, resizing), strict=True):
        assert device.screenshot() == turn.screenshot.png
        match answer.action:
            case Click(point):
                device.tap(point.to(frame).x, point.to(frame).y)
            case LongPress(point, _):
                device.long_press(point.to(frame).x, point.to(frame).y)
            case Swipe(start, end):
                device.swipe(start.to(frame).x, start.to(frame).y, end.to(frame).x, end.to(frame).y)
            case Terminate(status):
                assert status == "success"
            case other:
                name = next(iter(vars(other).values()))
                {
                    "Type": device.type_text,
                    "SystemButton": lambda name: device.key(name.upper()),
                    "Key": device.key,
                    "Open": lambda name: device.launch(next(a.package for a in APPS.values() if a.label == name)),
                }[type(other).__name__](name)
    return device


@pytest.mark.parametrize(("size", "resizing"), [DEMO, PHONE], ids=["112x224", "1080x2400"])
def test_replayed_annotations_show_their_screens_and_complete_the_task(size, resizing) -> None:
    tasks = TASKS if size == DEMO[0] else TASKS[:5]
    for task, trajectory in zip(tasks, write(tasks, mistakes=0.5, size=size, resizing=resizing), strict=True):
        assert play(task, trajectory, size, resizing).progress()["done"]
        assert trajectory.ending is Ending.SUCCESS and isinstance(read(trajectory, resizing)[-1].action, Terminate)


@pytest.mark.parametrize(("size", "resizing"), [DEMO, PHONE], ids=["112x224", "1080x2400"])
def test_every_tap_and_long_press_is_in_its_box_and_other_actions_have_none(size, resizing) -> None:
    for trajectory in write(TASKS[:8], size=size, resizing=resizing):
        for turn, answer in zip(trajectory.turns, read(trajectory, resizing), strict=True):
            touches = isinstance(answer.action, Click | LongPress)
            assert (turn.bbox is not None) == touches
            if touches:
                box = Box(*turn.bbox, resizing.model_frame(turn.screenshot))
                assert box.contains(answer.action.point) and box.x2 < box.frame.width and box.y2 < box.frame.height


@pytest.mark.parametrize(("size", "resizing"), [DEMO, PHONE], ids=["112x224", "1080x2400"])
def test_box_is_the_element_in_model_pixels(size, resizing) -> None:
    task = Task("settings", "", {"template": "settings_page", "parameters": {"page": "Sound"}, "seed": 0})
    [trajectory] = write([task], size=size, resizing=resizing)
    device = Device(size=size)
    device.reset(task.setup)
    device.launch("com.sim.settings")
    turn = next(turn for turn in trajectory.turns if turn.screenshot.png == device.screenshot())
    x1, y1, x2, y2 = next(element for element in device.elements() if element.name == "Sound").bounds(size)
    shown = Box(x1, y1, x2 - 1, y2 - 1, Frame("device", *size)).to(resizing.model_frame(turn.screenshot))
    assert turn.bbox == (shown.x1, shown.y1, shown.x2, shown.y2)


def test_annotations_without_mistakes_have_the_minimum_of_steps() -> None:
    for task, trajectory in zip(TASKS, write(TASKS), strict=True):
        assert len(trajectory.turns) == play(task, trajectory, *DEMO).progress()["shortest"]


def test_mistakes_are_undone_without_a_trace() -> None:
    """Trajectories with and without mistakes end in the same state, and thoughts mention the way back."""
    wrong = 0
    tasks = draw_tasks(60, seed=1, apps=ALL_APPS, held_out=False, popups=0)
    for task, plain, other in zip(tasks, write(tasks), write(tasks, mistakes=1.0), strict=True):
        differs = [t.response for t in plain.turns] != [t.response for t in other.turns]
        wrong += differs
        assert not differs or len(other.turns) > len(plain.turns)
        assert play(task, other, *DEMO).state() == play(task, plain, *DEMO).state()
    slippery = [task for task in tasks if task.setup["template"] not in ("go_home", "volume_up", "volume_down")]
    assert wrong == len(slippery)


def test_thought_after_a_mistake_mentions_it() -> None:
    tasks = draw_tasks(40, seed=2, apps=("settings", "shop", "messages"), held_out=False, popups=0)
    noticed = [
        any("wrong page" in answer.thought for answer in read(trajectory)) for trajectory in write(tasks, mistakes=1.0)
    ]
    assert sum(noticed) > 30
    assert not any("wrong page" in a.thought for trajectory in write(tasks) for a in read(trajectory))


def test_share_of_mistakes_equals_the_setting() -> None:
    tasks = draw_tasks(100, seed=3, apps=("settings", "shop", "messages"), held_out=False, popups=0)
    plain, some = write(tasks), write(tasks, mistakes=0.2)
    share = sum(len(a.turns) < len(b.turns) for a, b in zip(plain, some, strict=True)) / len(tasks)
    assert 0.1 < share < 0.3


def test_seed_determines_the_mistakes() -> None:
    tasks = TASKS[:10]
    assert write(tasks, mistakes=1.0) == write(tasks, mistakes=1.0) != write(tasks, mistakes=1.0, seed=1)


def test_thoughts_state_the_purpose_the_page_and_its_status() -> None:
    tasks = draw_tasks(60, seed=4, apps=ALL_APPS, held_out=False, popups=2)
    form = re.compile(r"([\w ]+); on ([\w ?]+); (next|done|pop-up|wrong page|not in sight)\.")
    standing: set[str] = set()
    for task, trajectory in zip(tasks, write(tasks, mistakes=0.5), strict=True):
        said = [form.fullmatch(answer.thought).groups() for answer in read(trajectory)]
        purposes = {purpose for purpose, _, _ in said}
        assert len(purposes) == (2 if task.setup["template"] == "switch_two" else 1)
        if task.setup["template"] != "go_home":  # its parameter is the start page and not the goal
            named = [value for value in task.setup["parameters"].values() if value not in ("on", "off")]
            assert all(any(name in purpose for purpose in purposes) for name in named)
        standing |= {verdict for _, _, verdict in said}
        assert said[-1][2] == "done"
    assert standing == {"next", "done", "pop-up", "wrong page", "not in sight"}


def test_system_message_contains_the_task() -> None:
    for task, trajectory in zip(TASKS, write(TASKS), strict=True):
        assert trajectory.task == task.instruction and trajectory.app == task.app
        assert trajectory.system == f"Phone. Task: {task.instruction}"


def test_annotations_survive_the_published_schema(tmp_path: Path) -> None:
    written = write(TASKS[:6], mistakes=0.5)
    write_trajectories(tmp_path, written)
    assert [trajectory for _, trajectory in read_trajectories(tmp_path)] == written


def test_every_annotated_action_changes_the_screen() -> None:
    for trajectory in write(TASKS):
        for before, after in pairwise(turn.screenshot.sha for turn in trajectory.turns[:-1]):
            assert before != after or "key" in trajectory.turns[0].response
