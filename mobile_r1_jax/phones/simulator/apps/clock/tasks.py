"""Task templates of the clock."""

from typing import Any

from mobile_r1_jax.phones.simulator.apps.clock.app import ALARMS
from mobile_r1_jax.phones.simulator.state import State
from mobile_r1_jax.phones.simulator.templates import ON_OFF, Goal, Move, Template, menu_goal, page_goal, tap


def alarm_template(
    name: str, english: str, chinese: str, goals: Any, prepare: Any, **more: tuple[str, ...]
) -> Template:
    return Template(name, "clock", english, chinese, {"name": ALARMS, **more}, goals, prepare)


def ensure_alarm(state: State, name: str, on: bool = True) -> None:
    alarms = state.data["clock"]["alarms"]
    if name not in alarms:
        alarms.pop(next(iter(alarms)))
    alarms[name] = on


def remove_alarm(state: State, name: str) -> None:
    state.data["clock"]["alarms"].pop(name, None)


TEMPLATES = (
    alarm_template(
        "alarm_switch",
        "Turn the {name} alarm {value}",
        "把{name}闹钟设为{value}",
        lambda p: (
            Goal(
                lambda state: state.data["clock"]["alarms"].get(p["name"]) == (p["value"] == "on"),
                {"clock/home": tap(p["name"])},
                f"{p['name']} to switch",
            ),
        ),
        lambda state, p: ensure_alarm(state, p["name"], p["value"] != "on"),
        value=ON_OFF,
    ),
    alarm_template(
        "alarm_delete",
        "Delete the {name} alarm",
        "删除{name}闹钟",
        lambda p: menu_goal(
            "clock/home",
            p["name"],
            "Delete",
            lambda state: p["name"] not in state.data["clock"]["alarms"],
            {},
            f"{p['name']} to Delete",
        ),
        lambda state, p: ensure_alarm(state, p["name"]),
    ),
    alarm_template(
        "alarm_new",
        "Set a new alarm called {name}",
        "新建闹钟{name}",
        lambda p: (
            Goal(
                lambda state: p["name"] in state.data["clock"]["alarms"],
                {"clock/home": tap("New"), "clock/new": Move("type", p["name"]), "clock/new#typed": tap("Keep")},
                f"{p['name']} to Keep",
            ),
        ),
        lambda state, p: remove_alarm(state, p["name"]),
    ),
    Template(
        "timer",
        "clock",
        "Start the timer",
        "启动计时器",
        {},
        lambda p: (
            Goal(
                lambda state: state.data["clock"]["running"],
                {"clock/home": tap("Timer"), "clock/timer": tap("Start")},
                "Timer to Start",
            ),
        ),
    ),
    Template(
        "world_page",
        "clock",
        "Show the world clock",
        "打开世界时钟",
        {},
        lambda p: page_goal("clock/world", {"clock/home": tap("World")}, "World to open"),
    ),
)
