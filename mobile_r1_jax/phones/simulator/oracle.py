"""The oracle: the shortest path through a task from any state of the phone.

A goal has a route: the move to make on each page. On other pages the oracle goes back or opens the app. It reads the
phone's state, not its pixels. It writes annotations and counts the remaining steps and the steps of the shortest path.
"""

from mobile_r1_jax.phones.simulator import gestures
from mobile_r1_jax.phones.simulator.apps import APPS
from mobile_r1_jax.phones.simulator.screen import COLUMNS, ROWS, Element
from mobile_r1_jax.phones.simulator.state import State
from mobile_r1_jax.phones.simulator.templates import Goal, Move

GRID = (COLUMNS * 28, ROWS * 28)  # the oracle taps the centers of elements, so any size works
MOST_STEPS = 15


def next_move(state: State, goals: tuple[Goal, ...]) -> Move:
    """Return the next step towards the first unreached goal; `finish` if all goals are reached."""
    goal = next((goal for goal in goals if not goal.reached(state)), None)
    if goal is None:
        return Move("finish")
    if not state.awake:
        return Move("key", "WAKEUP")
    if state.locked:
        return Move("swipe", "up")
    if state.popup:
        return Move("tap", state.popup.dismiss)
    if state.loading:
        return Move("wait")
    move = goal.route.get(state.page)
    if state.menu:
        wanted = goal.route.get(state.page + "#menu")
        held = move is not None and move.kind == "hold" and state.menu[0] == move.name
        return wanted if wanted and held else Move("button", "Back")
    if move is None:
        if len(state.stacks[state.app]) > 1 and goal.app in (state.app, state.beneath):
            return Move("button", "Back")
        return Move("open", APPS[goal.app].label) if goal.app != "launcher" else Move("button", "Home")
    if move.kind == "type" and state.text:  # to leave the page forgets wrong text
        right = state.text == move.name
        return goal.route.get(state.page + "#typed", move) if right else Move("button", "Back")
    if move.kind in ("tap", "hold") and target(state, move.name) is None:
        return Move("swipe", "down" if state.scroll else "up")
    return move


def target(state: State, name: str) -> Element | None:
    """Return the element that a tap or hold on `name` touches."""
    return gestures.screen_of(state).find(name)


def apply_move(state: State, move: Move) -> None:
    """Change the state by a move."""
    if move.kind in ("tap", "hold"):
        element = target(state, move.name)
        if element is not None:
            (gestures.tap if move.kind == "tap" else gestures.long_press)(state, *element.center(GRID), GRID)
    elif move.kind == "swipe":
        low, high = GRID[1] * 3 // 4, GRID[1] // 4
        gestures.swipe(state, *((low, high) if move.name == "up" else (high, low)), GRID)
    elif move.kind == "type":
        gestures.type_text(state, move.name)
    elif move.kind == "button":
        gestures.press(state, move.name.upper())
    elif move.kind == "key":
        gestures.press(state, move.name)
    elif move.kind == "open":
        state.launch(next(app.name for app in APPS.values() if app.label == move.name))


def remaining(state: State, goals: tuple[Goal, ...]) -> int:
    """Return the number of steps of the shortest path, `finish` included, if nothing further interrupts."""
    state = state.copy()
    state.waiting, state.loading = [], 0
    for step in range(MOST_STEPS):
        move = next_move(state, goals)
        if move.kind == "finish":
            return step + 1
        apply_move(state, move)
    return MOST_STEPS
