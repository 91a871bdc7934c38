"""Demonstrations: annotated trajectories of the simulated phone by its oracle.

A share of them has a wrong step, which the next step undoes. Screens are drawn from the phone's state without adb, so
that hundreds of trajectories take a few seconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from mobile_r1_jax.agent.actions import Action, Click, Key, LongPress, Open, Swipe, SystemButton, Terminate, Type, Wait
from mobile_r1_jax.agent.frames import Box, Frame, Point
from mobile_r1_jax.agent.prompts import system_text
from mobile_r1_jax.agent.responses import Response, format_response
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot
from mobile_r1_jax.agent.trajectory import Element as ListedElement
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, Turn
from mobile_r1_jax.phones.simulator import gestures, oracle
from mobile_r1_jax.phones.simulator.screen import Element, draw
from mobile_r1_jax.phones.simulator.state import State
from mobile_r1_jax.phones.simulator.tasks import Placed, place
from mobile_r1_jax.phones.simulator.templates import Goal, Move
from mobile_r1_jax.tasks.task import Task

HOLD_SECONDS = 1


def annotate(
    tasks: Sequence[Task], *, system: str, size: tuple[int, int], resizing: Resizing | None, mistakes: float, seed: int
) -> Iterator[Trajectory]:
    """Yield one trajectory for each task, with coordinates in model pixels, or without `resizing` in screenshot pixels.

    system: a template with {instruction}. size: (width, height) of the screens in device pixels. mistakes: share of
    tasks with a wrong step. A task without a possible wrong step gets none.
    """
    frame = Frame("screenshot", *size) if resizing is None else Frame("model", *resizing.model_size(*size))
    for index, task in enumerate(tasks):
        rng = Random(f"{seed}/{index}")
        wrong_at, wrong = draw_slip(task, rng) if rng.random() < mistakes else (-1, None)
        placed = place(task.setup)
        turns: list[Turn] = []
        for step in range(oracle.MOST_STEPS):
            move = oracle.next_move(placed.state, placed.goals)
            if step == wrong_at and wrong is not None:
                move = wrong
            turn = annotated_turn(placed.state, placed.goals, move, size, frame)
            turns.append(replace(turn, mistake=move is wrong))
            if move.kind == "finish":
                break
            oracle.apply_move(placed.state, move)
        else:
            raise RuntimeError(f"the oracle does not finish {task.setup} in {oracle.MOST_STEPS} steps")
        yield Trajectory(
            task.instruction,
            task.app,
            system_text(system, task.instruction),
            tuple(turns),
            Ending.SUCCESS,
            coordinates="screenshot" if resizing is None else "auto",
        )


def draw_slip(task: Task, rng: Random) -> tuple[int, Move | None]:
    """Draw a step of the task's shortest path and a wrong tap for it; (-1, None) if there is none."""
    placed = place(task.setup)
    slips: list[tuple[int, list[Move]]] = []
    for step in range(oracle.MOST_STEPS):
        right = oracle.next_move(placed.state, placed.goals)
        if right.kind in ("tap", "hold", "open") and (wrong := wrong_taps(placed)):
            slips.append((step, wrong))
        oracle.apply_move(placed.state, right)
    step, wrong = rng.choice(slips) if slips else (-1, [])
    return step, rng.choice(wrong) if wrong else None


def wrong_taps(placed: Placed) -> list[Move]:
    """Return the wrong taps on the current screen that the next step can undo."""
    elements = gestures.screen_of(placed.state).elements
    return [move for element in elements if element.tap and is_slip(placed, move := Move("tap", element.name))]


def is_slip(placed: Placed, move: Move) -> bool:
    """Return whether a move is a mistake that can be undone: it changes the page but no data."""
    before = placed.state.copy()
    before.waiting = []  # a pop-up does not make a right step wrong
    after = before.copy()
    oracle.apply_move(after, move)
    made_progress = oracle.remaining(after, placed.goals) < oracle.remaining(before, placed.goals)
    lost = oracle.remaining(after, placed.goals) == oracle.MOST_STEPS
    return after != before and after.data == before.data and not made_progress and not lost


def annotated_turn(state: State, goals: tuple[Goal, ...], move: Move, size: tuple[int, int], frame: Frame) -> Turn:
    element = oracle.target(state, move.name) if move.kind in ("tap", "hold") else None
    box = None if element is None else box_of(element, size, frame)
    screen = gestures.screen_of(state)
    response = Response(thought(state, goals, move), sentence(move), action(move, box, frame))
    elements = tuple(ListedElement(box_of(shown, size, frame), shown.name) for shown in screen.elements)
    return Turn(Screenshot(draw(screen, size)), format_response(response), bbox=box, elements=elements)


def box_of(element: Element, size: tuple[int, int], frame: Frame) -> tuple[int, int, int, int]:
    """Return the pixels of an element of a screen of `size`, both ends included, in `frame`."""
    x1, y1, x2, y2 = element.bounds(size)
    box = Box(x1, y1, x2 - 1, y2 - 1, Frame("device", *size)).to(frame)
    return box.x1, box.y1, box.x2, box.y2


def thought(state: State, goals: tuple[Goal, ...], move: Move) -> str:
    """Return a thought: the goal, the title of the page, and the state of the page."""
    goal = next((goal for goal in goals if not goal.reached(state)), goals[-1])
    title = next(element.name for element in gestures.screen_of(state).elements if element.cell[1] == 0)
    return f"{goal.subject}; on {title}; {verdict(state, move)}."


def verdict(state: State, move: Move) -> str:
    if move.kind == "finish":
        return "done"
    if state.popup:
        return "pop-up"
    if move == Move("button", "Back") or (move.kind == "open" and state.app != "launcher"):
        return "wrong page"
    return "not in sight" if move.kind == "swipe" else "next"


def sentence(move: Move) -> str:
    if move == Move("button", "Back"):
        return "Go back."
    verbs = {"tap": "Tap", "hold": "Hold", "swipe": "Swipe", "type": "Type", "button": "Press", "open": "Open"}
    if move.kind in verbs:
        return f"{verbs[move.kind]} {move.name}."
    return "Press the key." if move.kind == "key" else "Finish."


def action(move: Move, box: tuple[int, int, int, int] | None, frame: Frame) -> Action:
    """Return the `mobile_use` action of a move. `box`: the touched element in pixels of `frame`, if any."""
    if box is not None:
        point = Point((box[0] + box[2] + 1) // 2, (box[1] + box[3] + 1) // 2, frame)
        return Click(point) if move.kind == "tap" else LongPress(point, HOLD_SECONDS)
    if move.kind == "swipe":
        middle, high, low = frame.width // 2, frame.height // 4, frame.height * 3 // 4
        ends = (Point(middle, low, frame), Point(middle, high, frame))
        return Swipe(*ends) if move.name == "up" else Swipe(*reversed(ends))
    if move.kind == "wait":
        return Wait(1)
    plain = {"type": Type, "button": SystemButton, "key": Key, "open": Open}
    return plain[move.kind](move.name) if move.kind in plain else Terminate("success")
