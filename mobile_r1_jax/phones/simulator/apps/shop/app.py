"""A shop: search, results, item pages, the cart and the saved items. The tab Me has no function."""

import dataclasses
import re
from random import Random
from typing import Any
from urllib.parse import unquote

from mobile_r1_jax.phones.simulator.app import App
from mobile_r1_jax.phones.simulator.screen import Element
from mobile_r1_jax.phones.simulator.state import Popup, State, go, open_menu

ITEMS = (
    "Shoes",
    "Lamp",
    "Book",
    "Chair",
    "Watch",
    "Bag",
    "Cup",
    "Pen",
    "Hat",
    "Ball",
    "Tea",
    "Rice",
    "Milk",
    "Soap",
    "Desk",
    "Coat",
)
TABS = ("Cart", "Saved", "Me")


def fresh(rng: Random) -> dict[str, Any]:
    items = rng.sample(ITEMS, 8)
    return {
        "front": items[:4],
        "cart": items[4:6],
        "saved": items[6:8],
        "orders": 0,
        "shelf": rng.sample(ITEMS, len(ITEMS)),
        "tabs": rng.sample(TABS, 3),
    }


def elements(state: State) -> list[Element]:
    data = state.data["shop"]
    _, page, *rest = state.page.split("/")
    if page == "home":
        tiles = [
            Element(item, "row", (0, 2 + k, 4, 1), tap=go(f"shop/item/{item}")) for k, item in enumerate(data["front"])
        ]
        tabs = [Element(tab, "tile", (k, 7, 1, 1), tap=go(f"shop/{tab.lower()}")) for k, tab in enumerate(data["tabs"])]
        return [_title("Shop"), Element("Search", "field", (0, 1, 4, 1), tap=go("shop/search")), *tiles, *tabs]
    if page == "search":
        return [_title("Search"), _search_field(state.text)]
    if page == "results":
        rows = [
            Element(item, "row", (0, 2 + k, 4, 1), tap=go(f"shop/item/{item}"))
            for k, item in enumerate(results(data, rest[0]))
        ]
        return [_title("Results"), _search_field(rest[0]), *rows]
    if page == "item":
        item = rest[0]
        buttons = [
            Element(name, "button", cell, tap=_put(name, item))
            for name, cell in (("Add", (0, 6, 2, 1)), ("Save", (2, 6, 2, 1)))
        ]
        return [_title("Item"), Element(item, "row", (0, 2, 4, 1)), *buttons]
    if page in ("cart", "saved"):
        rows = [
            Element(
                item,
                "row",
                (0, 1 + k, 4, 1),
                tap=go(f"shop/item/{item}"),
                long_press=open_menu(item, "Delete", "Share"),
            )
            for k, item in enumerate(data[page][:6])
        ]
        pay = [Element("Pay", "button", (1, 7, 2, 1), tap=_pay)] if page == "cart" and rows else []
        return [_title(page.title()), *rows, *pay]
    return [_title("Done" if page == "done" else "Me"), Element("Empty", "line", (0, 3, 4, 1))]


def results(data: dict[str, Any], text: str) -> list[str]:
    """Return the results of a search: four items, with the searched item among them if it exists."""
    others = [item for item in data["shelf"] if item != text]
    place = data["shelf"].index(text) % 4 if text in data["shelf"] else None
    return others[:4] if place is None else [*others[:place], text, *others[place:3]]


def typed(state: State) -> None:
    """Show the results for the text of the search field, which keeps its cursor; without text, the search page."""
    state.stacks["shop"] = [page for page in state.stacks["shop"] if not page.startswith("shop/results")]
    if field := state.edited:
        shown = dataclasses.replace(field, text=field.text.replace("/", " "))
        state.push(f"shop/results/{shown.text}") if shown.text else state.settle()
        state.edited = shown


def choose(state: State, name: str, choice: str) -> None:
    """Apply a menu choice to a long-pressed row."""
    listing = state.data["shop"][state.page.split("/")[1]]
    if choice == "Delete" and name in listing:
        listing.remove(name)


def _title(name: str) -> Element:
    return Element(name, "title", (0, 0, 4, 1))


def _search_field(text: str) -> Element:
    return Element("Type", "field", (0, 1, 4, 1), tap=lambda state: None, value=text, focused=True)


def _put(button: str, item: str) -> Any:
    def effect(state: State) -> None:
        listing = state.data["shop"]["cart" if button == "Add" else "saved"]
        if item not in listing:
            listing.append(item)
        state.push("shop/cart" if button == "Add" else "shop/saved")

    return effect


def _pay(state: State) -> None:
    data = state.data["shop"]
    data["orders"], data["cart"] = data["orders"] + 1, []
    state.push("shop/done")


def links(uri: str) -> str:
    """Return the page of a link such as https://shop.sim.example/item/Shoes or simshop://cart."""
    match = re.fullmatch(r"(?:https?://shop\.sim\.example|simshop:/)/(?:(item/[^/?#]+)|(cart|saved|search)|)/?", uri)
    return "" if match is None else f"shop/{unquote(match[1] or match[2] or 'home')}"


POPUPS = (Popup("Big sale", accept="Look", dismiss="Close", astray="shop/me"),)
APP = App("shop", "Shop", "com.sim.shop", 0, fresh, elements, typed=typed, choose=choose, popups=POPUPS, links=links)
