"""Annotated trajectories of the simulated phone, written by its oracle as a person would annotate them.

A share of them takes a wrong step, notices it and undoes it. Screens come straight from the phone's state: no adb, so
that hundreds of trajectories take a few seconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from mobile_r1_jax.agent.actions import Action, Click, Key, LongPress, Open, Swipe, SystemButton, Terminate, Type
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.agent.prompts import system_text
from mobile_r1_jax.agent.responses import Response, format_response
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, Turn
from mobile_r1_jax.phones.simulator import gestures, oracle
from mobile_r1_jax.phones.simulator.screen import draw
from mobile_r1_jax.phones.simulator.state import State
from mobile_r1_jax.phones.simulator.tasks import Placed, place
from mobile_r1_jax.phones.simulator.templates import Goal, Move
from mobile_r1_jax.tasks.task import Task

HOLD_SECONDS = 1


def annotate(
    tasks: Sequence[Task], *, system: str, size: tuple[int, int], resizing: Resizing, mistakes: float, seed: int
) -> Iterator[Trajectory]:
    """One trajectory for each task, coordinates in model pixels; `mistakes` is the share that takes a wrong step.

    `system` is a template over {instruction}; `size` the screens' (width, height) in device pixels. A task that offers
    nothing to get wrong on its way gets no wrong step.
    """
    frame = Frame("model", *resizing.model_size(*size))
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
            oracle.make(placed.state, move)
        else:
            raise RuntimeError(f"the oracle is lost in {task.setup}: not done after {oracle.MOST_STEPS} steps")
        yield Trajectory(
            task.instruction, task.app, system_text(system, task.instruction), tuple(turns), Ending.SUCCESS, {}
        )


def draw_slip(task: Task, rng: Random) -> tuple[int, Move | None]:
    """A step of the task's shortest way and a wrong tap to make there instead; (-1, None) where there is none."""
    placed = place(task.setup)
    slips: list[tuple[int, list[Move]]] = []
    for step in range(oracle.MOST_STEPS):
        right = oracle.next_move(placed.state, placed.goals)
        if right.kind in ("tap", "hold", "open") and (wrong := wrong_taps(placed)):
            slips.append((step, wrong))
        oracle.make(placed.state, right)
    step, wrong = rng.choice(slips) if slips else (-1, [])
    return step, rng.choice(wrong) if wrong else None


def wrong_taps(placed: Placed) -> list[Move]:
    """The taps that a person could make here by mistake, notice and undo."""
    elements = gestures.screen_of(placed.state).elements
    return [move for element in elements if element.tap and is_slip(placed, move := Move("tap", element.name))]


def is_slip(placed: Placed, move: Move) -> bool:
    """Whether a move leads astray and back again: it changes where the phone is, nothing that it remembers."""
    before = placed.state.copy()
    before.waiting = []  # a pop-up that happens to come up makes no right step wrong
    after = before.copy()
    oracle.make(after, move)
    nearer = oracle.remaining(after, placed.goals) < oracle.remaining(before, placed.goals)
    lost = oracle.remaining(after, placed.goals) == oracle.MOST_STEPS
    return after != before and after.data == before.data and not nearer and not lost


def annotated_turn(state: State, goals: tuple[Goal, ...], move: Move, size: tuple[int, int], frame: Frame) -> Turn:
    element = oracle.target(state, move.name) if move.kind in ("tap", "hold") else None
    box = None
    if element is not None:
        device = Frame("device", *size)
        x1, y1, x2, y2 = element.bounds(size)
        corner, opposite = Point(x1, y1, device).to(frame), Point(x2 - 1, y2 - 1, device).to(frame)
        box = (corner.x, corner.y, opposite.x, opposite.y)
    response = Response(thought(state, goals, move), sentence(move), action(move, box, frame))
    return Turn(Screenshot(draw(gestures.screen_of(state), size)), format_response(response), bbox=box)


def thought(state: State, goals: tuple[Goal, ...], move: Move) -> str:
    """What it is all for, the page that the screen shows, and how things stand there."""
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
    """The `mobile_use` call of a move; `box` in pixels of `frame` where it touches an element."""
    if box is not None:
        point = Point((box[0] + box[2] + 1) // 2, (box[1] + box[3] + 1) // 2, frame)
        return Click(point) if move.kind == "tap" else LongPress(point, HOLD_SECONDS)
    if move.kind == "swipe":
        middle, high, low = frame.width // 2, frame.height // 4, frame.height * 3 // 4
        ends = (Point(middle, low, frame), Point(middle, high, frame))
        return Swipe(*ends) if move.name == "up" else Swipe(*reversed(ends))
    plain = {"type": Type, "button": SystemButton, "key": Key, "open": Open}
    return plain[move.kind](move.name) if move.kind in plain else Terminate("success")
