"""Annotated trajectories of the simulated phone, written by its oracle as a person would annotate them.

A share of them takes a wrong step, notices it and undoes it. Screens come straight from the phone's state: no adb, so
that hundreds of trajectories take a few seconds.
"""

from collections.abc import Iterator, Sequence
from random import Random

from mobile_r1_jax.agent.actions import Action, Click, Key, LongPress, Open, Swipe, SystemButton, Terminate, Type
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.agent.prompts import system_text
from mobile_r1_jax.agent.responses import Response, format_response
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot
from mobile_r1_jax.agent.trajectory import Ending, Trajectory, Turn
from mobile_r1_jax.phones.phone import Task
from mobile_r1_jax.phones.simulator import gestures, oracle
from mobile_r1_jax.phones.simulator.oracle import Goal, Move
from mobile_r1_jax.phones.simulator.screen import draw
from mobile_r1_jax.phones.simulator.state import State
from mobile_r1_jax.phones.simulator.tasks import Placed, place

HOLD_SECONDS = 1


def annotate(
    tasks: Sequence[Task], *, system: str, size: tuple[int, int], resizing: Resizing, mistakes: float, seed: int
) -> Iterator[Trajectory]:
    """One trajectory for each task, coordinates in model pixels; `mistakes` is the share that takes a wrong step.

    `system` is a template over {instruction}; `size` the screens' (width, height) in device pixels.
    """
    frame = Frame("model", *resizing.model_size(*size))
    for index, task in enumerate(tasks):
        rng = Random(f"{seed}/{index}")
        placed = place(task.setup)
        wrong_at = rng.randrange(placed.start) if rng.random() < mistakes else None
        turns: list[Turn] = []
        for step in range(oracle.MOST_STEPS):
            move = oracle.next_move(placed.state, placed.goals)
            if step == wrong_at:
                move = slip(placed, move, rng) or move
            turns.append(annotated_turn(placed.state, placed.goals, move, size, frame))
            if move.kind == "finish":
                break
            oracle.make(placed.state, move)
        yield Trajectory(
            task.instruction, task.app, system_text(system, task.instruction), tuple(turns), Ending.SUCCESS, {}
        )


def slip(placed: Placed, right: Move, rng: Random) -> Move | None:
    """A wrong tap that a person could make here and undo, None where there is none."""
    if right.kind not in ("tap", "hold", "open"):
        return None
    elements = gestures.screen_of(placed.state).elements
    moves = [Move("tap", element.name) for element in elements if element.tap and element.name != right.name]
    rng.shuffle(moves)
    return next((move for move in moves if leaves_a_way(placed, move)), None)


def leaves_a_way(placed: Placed, move: Move) -> bool:
    after = placed.state.copy()
    oracle.make(after, move)
    return oracle.remaining(after, placed.goals) < oracle.MOST_STEPS


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
    """The state of the screen, and what for the next action is."""
    title = next(element.name for element in gestures.screen_of(state).elements if element.cell[1] == 0)
    if state.popup:
        return "A pop-up is in the way."
    if move.kind == "finish":
        return f"On {title}; done."
    if move == Move("button", "Back"):
        return f"On {title}; wrong page."
    goal = next(goal for goal in goals if not goal.reached(state))
    return f"On {title}; need {goal.subject}."


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
