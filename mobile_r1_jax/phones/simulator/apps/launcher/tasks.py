"""Task templates of the home screen, the recent apps and the volume keys."""

from mobile_r1_jax.phones.simulator.apps.launcher.app import TILES
from mobile_r1_jax.phones.simulator.templates import Goal, Move, Parameters, Template, tap

HOMES = {label: f"{label.lower()}/home" for label in TILES}
KEY_PAGES = ("launcher/home", *HOMES.values())


def key_template(name: str, english: str, chinese: str, step: int) -> Template:
    def goals(p: Parameters) -> tuple[Goal, ...]:
        return (
            Goal(
                lambda state: (state.volume - 5) * step > 0,
                {page: Move("key", name) for page in KEY_PAGES},
                "louder" if step > 0 else "quieter",
            ),
        )

    return Template(name.lower(), "launcher", english, chinese, {}, goals)


def open_goal(p: Parameters) -> tuple[Goal, ...]:
    page = HOMES[p["app"]]
    return (
        Goal(
            lambda state: state.page == page and not state.popup,
            {"launcher/home": tap(p["app"])},
            f"{p['app']} to open",
        ),
    )


def home_goal(p: Parameters) -> tuple[Goal, ...]:
    return (Goal(lambda state: state.page == "launcher/home", {"launcher/home": Move("finish")}, "Home to open"),)


TEMPLATES = (
    Template(
        "open_app",
        "launcher",
        "Open {app}",
        "打开{app}",
        {"app": tuple(name for name in TILES if name != "Clock")},
        open_goal,
    ),
    Template(
        "go_home",
        "launcher",
        "Go to the home screen",
        "回到主屏幕",
        {"app": TILES},
        home_goal,
        lambda state, p: state.launch(p["app"].lower()),
    ),
    Template(
        "clear_recents",
        "launcher",
        "Clear the recent apps",
        "清除最近应用",
        {},
        lambda p: (
            Goal(
                lambda state: not state.data["launcher"]["recents"],
                {"launcher/home": Move("button", "Menu"), "launcher/recents": tap("Clear")},
                "Recents to Clear",
            ),
        ),
    ),
    key_template("VOLUME_UP", "Make it louder", "调大音量", 1),
    key_template("VOLUME_DOWN", "Make it quieter", "调小音量", -1),
)
