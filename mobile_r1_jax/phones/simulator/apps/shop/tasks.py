"""Task templates of the shop."""

from typing import Any

from mobile_r1_jax.phones.simulator.apps.shop.app import ITEMS
from mobile_r1_jax.phones.simulator.state import State
from mobile_r1_jax.phones.simulator.templates import Goal, Move, Template, menu_goal, page_goal, tap


def item_template(
    name: str, english: str, chinese: str, goals: Any, prepare: Any = lambda state, p: remove_item(state, p["item"])
) -> Template:
    return Template(name, "shop", english, chinese, {"item": ITEMS}, goals, prepare)


def delete_template(listing: str, english: str, chinese: str) -> Template:
    page, tab = f"shop/{listing}", listing.title()
    return item_template(
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
        lambda state, p: put_in_list(state, listing, p["item"]),
    )


def tab_template(name: str, english: str, chinese: str) -> Template:
    page = f"shop/{name}"
    return Template(
        f"{name}_page",
        "shop",
        english,
        chinese,
        {},
        lambda p: page_goal(page, {"shop/home": tap(name.title())}, f"{name.title()} to open"),
    )


def item_route(item: str, button: str | None) -> dict[str, Move]:
    route = {"shop/home": tap("Search"), "shop/search": Move("type", item), f"shop/results/{item}": tap(item)}
    return route | ({f"shop/item/{item}": tap(button)} if button else {})


def list_goal(item: str, button: str) -> Goal:
    listing = "cart" if button == "Add" else "saved"
    return Goal(lambda state: item in state.data["shop"][listing], item_route(item, button), f"{item} to {button}")


def remove_item(state: State, item: str) -> None:
    for listing in ("cart", "saved"):
        others = [other for other in state.data["shop"][listing] if other != item]
        state.data["shop"][listing] = others


def put_in_list(state: State, listing: str, item: str) -> None:
    remove_item(state, item)
    items = state.data["shop"][listing]
    items.insert(len(item) % 2, item)


TEMPLATES = (
    item_template(
        "search",
        "Search the Shop for {item}",
        "在Shop搜索{item}",
        lambda p: page_goal(f"shop/results/{p['item']}", item_route(p["item"], None), f"{p['item']} to Search"),
    ),
    item_template(
        "item_page",
        "Find {item} in the Shop",
        "在Shop找到{item}",
        lambda p: page_goal(f"shop/item/{p['item']}", item_route(p["item"], None), f"{p['item']} to open"),
    ),
    item_template("cart_add", "Add {item} to the cart", "把{item}加入购物车", lambda p: (list_goal(p["item"], "Add"),)),
    item_template("save", "Save {item} for later", "收藏{item}", lambda p: (list_goal(p["item"], "Save"),)),
    delete_template("cart", "Remove {item} from the cart", "从购物车删除{item}"),
    delete_template("saved", "Remove {item} from the saved items", "从收藏删除{item}"),
    tab_template("cart", "Show the cart", "打开购物车"),
    tab_template("saved", "Show the saved items", "打开收藏"),
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
)
