"""The shortest way through a task: what a practised user would do next from wherever the phone is now.

A goal is reached by a route: for each page on the way, the move to make there. From a page off the route the oracle
goes back, or opens the app. It sees the phone's state, not its pixels, and serves three purposes: it writes
annotations, it counts the steps that remain (which tells when an episode left the right path), and it says how short a
task could have been.
"""

from mobile_r1_jax.phones.simulator import gestures
from mobile_r1_jax.phones.simulator.apps import APPS
from mobile_r1_jax.phones.simulator.screen import COLUMNS, ROWS, Element
from mobile_r1_jax.phones.simulator.state import State
from mobile_r1_jax.phones.simulator.templates import Goal, Move

GRID = (COLUMNS * 28, ROWS * 28)  # any size would do: the oracle taps centres
MOST_STEPS = 15


def next_move(state: State, goals: tuple[Goal, ...]) -> Move:
    """The next step towards the first goal not reached; `finish` when all are."""
    goal = next((goal for goal in goals if not goal.reached(state)), None)
    if goal is None:
        return Move("finish")
    if state.popup:
        return Move("tap", state.popup.dismiss)
    move = goal.route.get(state.page)
    if state.menu:
        wanted = goal.route.get(state.page + "#menu")
        held = move is not None and move.kind == "hold" and state.menu[0] == move.name
        return wanted if wanted and held else Move("button", "Back")
    if move is None:
        if len(state.stacks[state.app]) > 1 and goal.app in (state.app, state.beneath):
            return Move("button", "Back")
        return Move("open", APPS[goal.app].label) if goal.app != "launcher" else Move("button", "Home")
    if move.kind == "type" and state.text == move.name and state.page + "#typed" in goal.route:
        return goal.route[state.page + "#typed"]
    if move.kind in ("tap", "hold") and target(state, move.name) is None:
        return Move("swipe", "down" if state.scroll else "up")
    return move


def target(state: State, name: str) -> Element | None:
    """The element that a tap or hold on `name` touches."""
    return gestures.screen_of(state).find(name)


def make(state: State, move: Move) -> None:
    """Does the move to the state."""
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
        state.popup = None
        state.launch(next(app.name for app in APPS.values() if app.label == move.name))


def remaining(state: State, goals: tuple[Goal, ...]) -> int:
    """How many steps the shortest way still takes, `finish` included, as long as no further pop-up opens."""
    state = state.copy()
    state.waiting = []
    for step in range(MOST_STEPS):
        move = next_move(state, goals)
        if move.kind == "finish":
            return step + 1
        make(state, move)
    return MOST_STEPS
