"""The parts of tasks on simulated phones: moves, goals, and templates with parameters."""

from collections.abc import Callable
from dataclasses import dataclass

from mobile_r1_jax.phones.simulator.state import State

Parameters = dict[str, str]
ON_OFF = ("on", "off")


@dataclass(frozen=True)
class Move:
    """One step. `kind`: tap, hold, swipe, type, button, key, open, wait or finish. `name`: its target or text."""

    kind: str
    name: str = ""


@dataclass(frozen=True)
class Goal:
    """A state to reach and the route to it: page -> move on that page. The first page is the app's home.

    The key page#menu gives the move in the page's open menu, page#typed the move after text was typed.
    """

    reached: Callable[[State], bool]
    route: dict[str, Move]
    subject: str  # object and action in words, for the thought, such as "Tea to Add"

    @property
    def app(self) -> str:
        return next(iter(self.route)).split("/")[0]


@dataclass(frozen=True)
class Template:
    """A kind of task. `english` and `chinese` are format strings; `domains` lists the values of each parameter."""

    name: str
    app: str
    english: str
    chinese: str
    domains: dict[str, tuple[str, ...]]
    goals: Callable[[Parameters], tuple[Goal, ...]]
    prepare: Callable[[State, Parameters], None] = lambda state, parameters: None

    @property
    def varied(self) -> bool:
        """Whether the instruction depends on a parameter."""
        return "{" in self.english


def tap(name: str) -> Move:
    return Move("tap", name)


def page_goal(page: str, route: dict[str, Move], subject: str) -> tuple[Goal, ...]:
    return (Goal(lambda state: state.page == page and not state.popup, route, subject),)


def menu_goal(
    page: str, name: str, choice: str, reached: Callable[[State], bool], before: dict[str, Move], subject: str
) -> tuple[Goal, ...]:
    return (Goal(reached, before | {page: Move("hold", name), page + "#menu": tap(choice)}, subject),)
