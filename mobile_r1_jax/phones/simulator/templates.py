"""What a simulated phone can be asked to do: task templates with random parameters, in English and Chinese."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mobile_r1_jax.phones.simulator.apps import APPS, LABELS, launcher
from mobile_r1_jax.phones.simulator.apps.clock import ALARMS
from mobile_r1_jax.phones.simulator.apps.messages import PEOPLE, WORDS
from mobile_r1_jax.phones.simulator.apps.settings import PAGES, SWITCHES
from mobile_r1_jax.phones.simulator.apps.shop import ITEMS
from mobile_r1_jax.phones.simulator.oracle import Goal, Move
from mobile_r1_jax.phones.simulator.state import State

Parameters = dict[str, str]
SUBSWITCHES = {name: page for page, names in PAGES.items() for name in names}


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


# The goals' building blocks -----------------------------------------------------------------------------------------


def tap(name: str) -> Move:
    return Move("tap", name)


def page_goal(page: str, route: dict[str, Move], subject: str) -> tuple[Goal, ...]:
    return (Goal(lambda state: state.page == page and not state.popup, route, subject),)


def switch_goal(name: str, value: str) -> Goal:
    page = SUBSWITCHES.get(name)
    route = {"settings/home": tap(page or name)} | ({f"settings/{page}": tap(name)} if page else {})
    return Goal(lambda state: state.data["settings"]["on"][name] == (value == "on"), route, f"{name} to switch")


def item_route(item: str, button: str | None) -> dict[str, Move]:
    route = {"shop/home": tap("Search"), "shop/search": Move("type", item), f"shop/results/{item}": tap(item)}
    return route | ({f"shop/item/{item}": tap(button)} if button else {})


def put_goal(item: str, button: str) -> Goal:
    listing = "cart" if button == "Add" else "saved"
    return Goal(lambda state: item in state.data["shop"][listing], item_route(item, button), f"{item} to {button}")


def menu_goal(
    page: str, name: str, choice: str, reached: Callable[[State], bool], before: dict[str, Move], subject: str
) -> tuple[Goal, ...]:
    return (Goal(reached, before | {page: Move("hold", name), page + "#menu": tap(choice)}, subject),)


def off_before(state: State, name: str, value: str) -> None:
    state.data["settings"]["on"][name] = value != "on"


def without(state: State, item: str) -> None:
    for listing in ("cart", "saved"):
        kept = [other for other in state.data["shop"][listing] if other != item]
        state.data["shop"][listing] = kept


def listed(state: State, listing: str, item: str) -> None:
    without(state, item)
    items = state.data["shop"][listing]
    items.insert(len(item) % 2, item)


def with_chat(state: State, name: str) -> None:
    chats = state.data["messages"]["chats"]
    if name not in chats:
        chats[sum(map(ord, name)) % len(chats)] = name


def with_alarm(state: State, name: str, on: bool = True) -> None:
    alarms = state.data["clock"]["alarms"]
    if name not in alarms:
        alarms.pop(next(iter(alarms)))
    alarms[name] = on


def chat_route(name: str) -> dict[str, Move]:
    return {"messages/home": tap(name)}


def send_goal(name: str, word: str) -> tuple[Goal, ...]:
    page = f"messages/chat/{name}"
    route = chat_route(name) | {page: Move("type", word), page + "#typed": tap("Send")}
    return (
        Goal(lambda state: word in state.data["messages"]["sent"].get(name, []), route, f"{word} to Send to {name}"),
    )


def without_alarm(state: State, name: str) -> None:
    state.data["clock"]["alarms"].pop(name, None)


def both_off_before(state: State, p: Parameters) -> None:
    off_before(state, p["first"], p["value"])
    off_before(state, p["second"], p["value"])


ON_OFF = ("on", "off")


def _templates() -> list[Template]:
    return [
        *(_settings_templates()),
        *(_shop_templates()),
        *(_messages_templates()),
        *(_clock_templates()),
        *(_launcher_templates()),
    ]


def _settings_templates() -> list[Template]:
    def switch(name: str, english: str, chinese: str, names: tuple[str, ...]) -> Template:
        return Template(
            name,
            "settings",
            english,
            chinese,
            {"name": names, "value": ON_OFF},
            lambda p: (switch_goal(p["name"], p["value"]),),
            lambda state, p: off_before(state, p["name"], p["value"]),
        )

    return [
        switch("switch", "Turn {name} {value}", "把{name}设为{value}", SWITCHES),
        switch("subswitch", "In Settings set {name} to {value}", "在Settings里把{name}设为{value}", tuple(SUBSWITCHES)),
        Template(
            "switch_two",
            "settings",
            "Turn {first} {value} and {second} too",
            "把{first}和{second}都设为{value}",
            {"first": SWITCHES[:2], "second": SWITCHES[2:], "value": ON_OFF},
            lambda p: (switch_goal(p["first"], p["value"]), switch_goal(p["second"], p["value"])),
            both_off_before,
        ),
        Template(
            "settings_page",
            "settings",
            "Show the {page} settings",
            "打开{page}设置页",
            {"page": tuple(PAGES)},
            lambda p: page_goal(f"settings/{p['page']}", {"settings/home": tap(p["page"])}, f"{p['page']} to open"),
        ),
    ]


def _shop_templates() -> list[Template]:
    def shop(
        name: str, english: str, chinese: str, goals: Any, prepare: Any = lambda state, p: without(state, p["item"])
    ) -> Template:
        return Template(name, "shop", english, chinese, {"item": ITEMS}, goals, prepare)

    def delete(listing: str, english: str, chinese: str) -> Template:
        page, tab = f"shop/{listing}", listing.title()
        return shop(
            f"{listing}_delete",
            english,
            chinese,
            lambda p: menu_goal(
                page,
                p["item"],
                "Delete",
                lambda state: p["item"] not in state.data["shop"][listing],
                {"shop/home": tap(tab)},
                f"{p['item']} in {tab} to Delete",
            ),
            lambda state, p: listed(state, listing, p["item"]),
        )

    def tab(name: str, english: str, chinese: str) -> Template:
        page = f"shop/{name}"
        return Template(
            f"{name}_page",
            "shop",
            english,
            chinese,
            {},
            lambda p: page_goal(page, {"shop/home": tap(name.title())}, f"{name.title()} to open"),
        )

    return [
        shop(
            "search",
            "Search the Shop for {item}",
            "在Shop搜索{item}",
            lambda p: page_goal(f"shop/results/{p['item']}", item_route(p["item"], None), f"{p['item']} to Search"),
        ),
        shop(
            "item_page",
            "Find {item} in the Shop",
            "在Shop找到{item}",
            lambda p: page_goal(f"shop/item/{p['item']}", item_route(p["item"], None), f"{p['item']} to open"),
        ),
        shop("cart_add", "Add {item} to the cart", "把{item}加入购物车", lambda p: (put_goal(p["item"], "Add"),)),
        shop("save", "Save {item} for later", "收藏{item}", lambda p: (put_goal(p["item"], "Save"),)),
        delete("cart", "Remove {item} from the cart", "从购物车删除{item}"),
        delete("saved", "Remove {item} from the saved items", "从收藏删除{item}"),
        tab("cart", "Show the cart", "打开购物车"),
        tab("saved", "Show the saved items", "打开收藏"),
        Template(
            "pay",
            "shop",
            "Pay for the cart",
            "为购物车付款",
            {},
            lambda p: (
                Goal(
                    lambda state: state.data["shop"]["orders"] > 0,
                    {"shop/home": tap("Cart"), "shop/cart": tap("Pay")},
                    "Cart to Pay",
                ),
            ),
        ),
    ]


def _messages_templates() -> list[Template]:
    def people(name: str, english: str, chinese: str, goals: Any, **more: tuple[str, ...]) -> Template:
        return Template(
            name,
            "messages",
            english,
            chinese,
            {"name": PEOPLE, **more},
            goals,
            lambda state, p: with_chat(state, p["name"]),
        )

    def chat_menu(p: Parameters, choice: str, reached: Callable[[State], bool]) -> tuple[Goal, ...]:
        before = {"messages/home": tap(p["name"])}
        return menu_goal("messages/home", p["name"], choice, reached, before, f"{p['name']} to {choice}")

    return [
        people(
            "chat_page",
            "Open the chat with {name}",
            "打开和{name}的聊天",
            lambda p: page_goal(f"messages/chat/{p['name']}", chat_route(p["name"]), f"{p['name']} to open"),
        ),
        people(
            "send", "Send {word} to {name}", "给{name}发送{word}", lambda p: send_goal(p["name"], p["word"]), word=WORDS
        ),
        people(
            "call",
            "Call {name}",
            "给{name}打电话",
            lambda p: page_goal(
                f"messages/call/{p['name']}",
                chat_route(p["name"]) | {f"messages/chat/{p['name']}": tap("Call")},
                f"{p['name']} to Call",
            ),
        ),
        people(
            "chat_delete",
            "Delete the chat with {name}",
            "删除和{name}的聊天",
            lambda p: chat_menu(p, "Delete", lambda state: p["name"] not in state.data["messages"]["chats"]),
        ),
        people(
            "silence",
            "Silence {name}",
            "静音{name}",
            lambda p: chat_menu(p, "Silence", lambda state: p["name"] in state.data["messages"]["muted"]),
        ),
    ]


def _clock_templates() -> list[Template]:
    def alarm(name: str, english: str, chinese: str, goals: Any, prepare: Any, **more: tuple[str, ...]) -> Template:
        return Template(name, "clock", english, chinese, {"name": ALARMS, **more}, goals, prepare)

    return [
        alarm(
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
            lambda state, p: with_alarm(state, p["name"], p["value"] != "on"),
            value=ON_OFF,
        ),
        alarm(
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
            lambda state, p: with_alarm(state, p["name"]),
        ),
        alarm(
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
            lambda state, p: without_alarm(state, p["name"]),
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
    ]


def _launcher_templates() -> list[Template]:
    home = launcher.TILES

    def key(name: str, english: str, chinese: str, step: int) -> Template:
        def goals(p: Parameters) -> tuple[Goal, ...]:
            return (
                Goal(
                    lambda state: (state.volume - 5) * step > 0,
                    {page: Move("key", name) for page in KEY_PAGES},
                    "louder" if step > 0 else "quieter",
                ),
            )

        return Template(name.lower(), "launcher", english, chinese, {}, goals)

    return [
        Template(
            "open_app",
            "launcher",
            "Open {app}",
            "打开{app}",
            {"app": tuple(name for name in home if name != "Clock")},
            _open_goal,
        ),
        Template(
            "go_home",
            "launcher",
            "Go to the home screen",
            "回到主屏幕",
            {"app": home},
            _home_goal,
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
        key("VOLUME_UP", "Make it louder", "调大音量", 1),
        key("VOLUME_DOWN", "Make it quieter", "调小音量", -1),
    ]


KEY_PAGES = ("launcher/home", *(f"{name}/home" for name in APPS if name != "launcher"))


def _open_goal(p: Parameters) -> tuple[Goal, ...]:
    page = f"{LABELS[p['app']]}/home"
    return (
        Goal(
            lambda state: state.page == page and not state.popup,
            {"launcher/home": tap(p["app"])},
            f"{p['app']} to open",
        ),
    )


def _home_goal(p: Parameters) -> tuple[Goal, ...]:
    return (Goal(lambda state: state.page == "launcher/home", {"launcher/home": Move("finish")}, "Home to open"),)


TEMPLATES: dict[str, Template] = {template.name: template for template in _templates()}
