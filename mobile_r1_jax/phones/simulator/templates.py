"""What tasks on simulated phones are made of: moves, goals, and templates with random parameters."""

from collections.abc import Callable
from dataclasses import dataclass

from mobile_r1_jax.phones.simulator.state import State

Parameters = dict[str, str]
ON_OFF = ("on", "off")


@dataclass(frozen=True)
class Move:
    """One step: `kind` tap, hold, swipe, type, button, key, open or finish; `name` what it is done to or with."""

    kind: str
    name: str = ""


@dataclass(frozen=True)
class Goal:
    """A state to reach and the route there: page -> move. The route's first page is the app's home."""

    reached: Callable[[State], bool]
    route: dict[str, Move]
    subject: str  # what is to be done to what, as a thought would say it

    @property
    def app(self) -> str:
        return next(iter(self.route)).split("/")[0]


@dataclass(frozen=True)
class Template:
    """A kind of task. `english` and `chinese` are format strings over the parameters, `domains` what each may be."""

    name: str
    app: str
    english: str
    chinese: str
    domains: dict[str, tuple[str, ...]]
    goals: Callable[[Parameters], tuple[Goal, ...]]
    prepare: Callable[[State, Parameters], None] = lambda state, parameters: None

    @property
    def varied(self) -> bool:
        """Whether the instruction names a parameter: where it names none, it is always the same."""
        return "{" in self.english


def tap(name: str) -> Move:
    return Move("tap", name)


def page_goal(page: str, route: dict[str, Move], subject: str) -> tuple[Goal, ...]:
    return (Goal(lambda state: state.page == page and not state.popup, route, subject),)


def menu_goal(
    page: str, name: str, choice: str, reached: Callable[[State], bool], before: dict[str, Move], subject: str
) -> tuple[Goal, ...]:
    return (Goal(reached, before | {page: Move("hold", name), page + "#menu": tap(choice)}, subject),)
