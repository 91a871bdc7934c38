"""Task templates of Messages."""

from collections.abc import Callable
from typing import Any

from mobile_r1_jax.phones.simulator.apps.messages.app import PEOPLE, WORDS
from mobile_r1_jax.phones.simulator.state import State
from mobile_r1_jax.phones.simulator.templates import Goal, Move, Parameters, Template, menu_goal, page_goal, tap


def chat_template(name: str, english: str, chinese: str, goals: Any, **more: tuple[str, ...]) -> Template:
    return Template(
        name,
        "messages",
        english,
        chinese,
        {"name": PEOPLE, **more},
        goals,
        lambda state, p: ensure_chat(state, p["name"]),
    )


def chat_menu_goal(p: Parameters, choice: str, reached: Callable[[State], bool]) -> tuple[Goal, ...]:
    before = {"messages/home": tap(p["name"])}
    return menu_goal("messages/home", p["name"], choice, reached, before, f"{p['name']} to {choice}")


def ensure_chat(state: State, name: str) -> None:
    chats = state.data["messages"]["chats"]
    if name not in chats:
        chats[sum(map(ord, name)) % len(chats)] = name


def chat_route(name: str) -> dict[str, Move]:
    return {"messages/home": tap(name)}


def send_goal(name: str, word: str) -> tuple[Goal, ...]:
    page = f"messages/chat/{name}"
    route = chat_route(name) | {page: Move("type", word), page + "#typed": tap("Send")}
    return (
        Goal(lambda state: word in state.data["messages"]["sent"].get(name, []), route, f"{word} to Send to {name}"),
    )


TEMPLATES = (
    chat_template(
        "chat_page",
        "Open the chat with {name}",
        "打开和{name}的聊天",
        lambda p: page_goal(f"messages/chat/{p['name']}", chat_route(p["name"]), f"{p['name']} to open"),
    ),
    chat_template(
        "send", "Send {word} to {name}", "给{name}发送{word}", lambda p: send_goal(p["name"], p["word"]), word=WORDS
    ),
    chat_template(
        "call",
        "Call {name}",
        "给{name}打电话",
        lambda p: page_goal(
            f"messages/call/{p['name']}",
            chat_route(p["name"]) | {f"messages/chat/{p['name']}": tap("Call")},
            f"{p['name']} to Call",
        ),
    ),
    chat_template(
        "chat_delete",
        "Delete the chat with {name}",
        "删除和{name}的聊天",
        lambda p: chat_menu_goal(p, "Delete", lambda state: p["name"] not in state.data["messages"]["chats"]),
    ),
    chat_template(
        "silence",
        "Silence {name}",
        "静音{name}",
        lambda p: chat_menu_goal(p, "Silence", lambda state: p["name"] in state.data["messages"]["muted"]),
    ),
)
