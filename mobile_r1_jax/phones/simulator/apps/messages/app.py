"""Messages: chats, a text field, calls, and a menu on long press."""

import re
from random import Random
from typing import Any
from urllib.parse import unquote

from mobile_r1_jax.phones.simulator.app import App, Rows
from mobile_r1_jax.phones.simulator.screen import Element
from mobile_r1_jax.phones.simulator.state import State, go, open_menu

PEOPLE = ("Anna", "Bob", "Carl", "Dora", "Emil", "Fay", "Gus", "Hugo", "Iris", "Jack", "Kate", "Liam")
WORDS = ("Hello", "Thanks", "Yes", "No", "Later", "Sorry", "Great", "Soon")


def fresh(rng: Random) -> dict[str, Any]:
    return {"chats": rng.sample(PEOPLE, 5), "muted": [], "sent": {}}


def elements(state: State) -> list[Element]:
    data = state.data["messages"]
    _, page, *rest = state.page.split("/")
    if page == "home":
        rows = [
            Element(
                name,
                "row",
                (0, 1 + k, 4, 1),
                tap=go(f"messages/chat/{name}"),
                long_press=open_menu(name, "Delete", "Silence"),
            )
            for k, name in enumerate(data["chats"])
        ]
        return [Element("Messages", "title", (0, 0, 4, 1)), *rows]
    name = rest[0]
    if page == "call":
        hang_up = Element("End", "button", (1, 6, 2, 1), tap=lambda state: state.back())
        return [Element("Call", "title", (0, 0, 4, 1)), Element(name, "row", (0, 2, 4, 1)), hang_up]
    lines = [Element(text, "line", (1, 2 + k, 3, 1)) for k, text in enumerate(data["sent"].get(name, [])[-3:])]
    return [
        Element("Chat", "title", (0, 0, 4, 1)),
        Element(name, "row", (0, 1, 4, 1)),
        *lines,
        Element("Call", "button", (0, 5, 2, 1), tap=go(f"messages/call/{name}")),
        Element("Write", "field", (0, 6, 4, 1), tap=lambda state: None, value=state.text, focused=True),
        *([Element("Send", "button", (2, 5, 2, 1), tap=entered)] if state.text else []),
    ]


def entered(state: State) -> None:
    if state.text:
        state.data["messages"]["sent"].setdefault(state.page.split("/")[2], []).append(state.text)
        state.edited = None


def choose(state: State, name: str, choice: str) -> None:
    """Apply a menu choice to a long-pressed chat."""
    data = state.data["messages"]
    if choice == "Delete" and name in data["chats"]:
        data["chats"].remove(name)
    elif choice == "Silence" and name not in data["muted"]:
        data["muted"].append(name)


def links(uri: str) -> str:
    """Return the chat of a link such as sms:Anna or smsto:Anna?body=Hello."""
    match = re.match(r"sms(?:to)?:/*([^/?#]+)", uri)
    return f"messages/chat/{unquote(match[1]).replace('/', ' ')}" if match else ""


def tables(data: dict[str, Any]) -> dict[str, Rows]:
    """Return Android's tables of messages. There are no answers, so no message is received."""
    columns = ("address", "type", "body")
    sent = [(name, 2, text) for name, texts in data["sent"].items() for text in texts]
    return {"sms": Rows(columns, sent), "sms/sent": Rows(columns, sent), "sms/inbox": Rows(columns, [])}


APP = App(
    "messages",
    "Messages",
    "com.sim.messages",
    2,
    fresh,
    elements,
    entered=entered,
    choose=choose,
    links=links,
    tables=tables,
)
