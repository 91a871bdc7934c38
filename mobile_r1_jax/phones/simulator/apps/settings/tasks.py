"""Task templates of Settings."""

from mobile_r1_jax.phones.simulator.apps.settings.app import PAGES, SWITCHES
from mobile_r1_jax.phones.simulator.state import State
from mobile_r1_jax.phones.simulator.templates import ON_OFF, Goal, Parameters, Template, page_goal, tap

SUBSWITCHES = {name: page for page, names in PAGES.items() for name in names}


def switch_template(name: str, english: str, chinese: str, names: tuple[str, ...]) -> Template:
    return Template(
        name,
        "settings",
        english,
        chinese,
        {"name": names, "value": ON_OFF},
        lambda p: (switch_goal(p["name"], p["value"]),),
        lambda state, p: set_to_opposite(state, p["name"], p["value"]),
    )


def switch_goal(name: str, value: str) -> Goal:
    page = SUBSWITCHES.get(name)
    route = {"settings/home": tap(page or name)} | ({f"settings/{page}": tap(name)} if page else {})
    return Goal(lambda state: state.data["settings"]["on"][name] == (value == "on"), route, f"{name} to switch")


def set_to_opposite(state: State, name: str, value: str) -> None:
    state.data["settings"]["on"][name] = value != "on"


def set_both_to_opposite(state: State, p: Parameters) -> None:
    set_to_opposite(state, p["first"], p["value"])
    set_to_opposite(state, p["second"], p["value"])


TEMPLATES = (
    switch_template("switch", "Turn {name} {value}", "把{name}设为{value}", SWITCHES),
    switch_template(
        "subswitch", "In Settings set {name} to {value}", "在Settings里把{name}设为{value}", tuple(SUBSWITCHES)
    ),
    Template(
        "switch_two",
        "settings",
        "Turn {first} {value} and {second} too",
        "把{first}和{second}都设为{value}",
        {"first": SWITCHES[:2], "second": SWITCHES[2:], "value": ON_OFF},
        lambda p: (switch_goal(p["first"], p["value"]), switch_goal(p["second"], p["value"])),
        set_both_to_opposite,
    ),
    Template(
        "settings_page",
        "settings",
        "Show the {page} settings",
        "打开{page}设置页",
        {"page": tuple(PAGES)},
        lambda p: page_goal(f"settings/{p['page']}", {"settings/home": tap(p["page"])}, f"{p['page']} to open"),
    ),
)
