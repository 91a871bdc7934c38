"""Effects of taps, presses, swipes, text and keys: pop-ups, menus, scrolling, typing and Back."""

from random import Random

import pytest

from mobile_r1_jax.phones.simulator import gestures
from mobile_r1_jax.phones.simulator.apps import APPS
from mobile_r1_jax.phones.simulator.apps.settings.app import VISIBLE
from mobile_r1_jax.phones.simulator.gestures import POPUPS
from mobile_r1_jax.phones.simulator.state import Popup, State

SIZE = (112, 224)
ASTRAY = [popup for popup in POPUPS if popup.astray]


def phone(page: str = "launcher/home", seed: int = 0) -> State:
    state = gestures.fresh_state(Random(seed))
    app = page.split("/")[0]
    state.launch(app)
    if page != f"{app}/home":
        state.push(page)
    return state


def names(state: State) -> list[str]:
    return [element.name for element in gestures.screen_of(state).elements]


def tap(state: State, name: str) -> None:
    gestures.tap(state, *gestures.screen_of(state).find(name).center(SIZE), SIZE)


def hold(state: State, name: str) -> None:
    gestures.long_press(state, *gestures.screen_of(state).find(name).center(SIZE), SIZE)


def swipe(state: State, way: str, pixels: int = 112) -> None:
    gestures.swipe(state, *((168, 168 - pixels) if way == "up" else (56, 56 + pixels)), SIZE)


def interrupted(popup: Popup, page: str) -> State:
    app = page.split("/")[0]
    state = phone(f"{app}/home")
    state.waiting = [(1, popup)]
    state.push(page) if page != f"{app}/home" else state.launch(app)
    return state


@pytest.mark.parametrize("popup", POPUPS, ids=lambda popup: popup.title)
def test_pop_up_opens_with_its_page_and_covers_everything_below_the_title(popup: Popup) -> None:
    state = phone()
    state.waiting = [(2, popup)]
    state.launch("shop")
    assert state.popup is None
    state.push("shop/search")
    assert state.popup == popup and state.popups_shown == 1
    assert names(state)[0] == "Search"
    assert set(names(state)[1:]) == {popup.title, popup.accept, popup.dismiss}


@pytest.mark.parametrize("page", ["messages/chat/Anna", "settings/home"])
def test_pop_up_blocks_the_elements_under_it(page: str) -> None:
    state = interrupted(POPUPS[0], page)
    before = state.copy()
    buttons = [e.bounds(SIZE) for e in gestures.screen_of(state).elements if e.touchable]
    for x in range(0, SIZE[0], 7):
        for y in range(0, SIZE[1], 7):
            if not any(x1 <= x < x2 and y1 <= y < y2 for x1, y1, x2, y2 in buttons):
                gestures.tap(state, x, y, SIZE)
                gestures.long_press(state, x, y, SIZE)
    swipe(state, "up")
    gestures.type_text(state, "Hello")
    gestures.press(state, "ENTER")
    assert state == before


@pytest.mark.parametrize("popup", POPUPS, ids=lambda popup: popup.title)
@pytest.mark.parametrize("page", ["settings/home", "shop/item/Lamp"])
def test_dismissing_a_pop_up_shows_the_page_again(popup: Popup, page: str) -> None:
    state = interrupted(popup, page)
    tap(state, popup.dismiss)
    assert state.popup is None and state.page == page


@pytest.mark.parametrize("popup", ASTRAY, ids=lambda popup: popup.title)
@pytest.mark.parametrize("page", ["settings/home", "settings/Display", "shop/home", "shop/item/Lamp", "camera/home"])
def test_accepting_a_pop_up_opens_another_page_and_back_returns(popup: Popup, page: str) -> None:
    state = interrupted(popup, page)
    tap(state, popup.accept)
    assert state.popup is None and state.page == popup.astray
    gestures.press(state, "BACK")
    assert state.page == page


def test_back_closes_a_pop_up_before_it_leaves_the_page() -> None:
    state = interrupted(POPUPS[0], "shop/search")
    gestures.press(state, "BACK")
    assert state.popup is None and state.page == "shop/search"
    gestures.press(state, "BACK")
    assert state.page == "shop/home"


def test_order_of_pop_up_buttons_varies_between_tasks() -> None:
    rng = Random(0)
    assert {gestures.shuffled(POPUPS[0], rng).accept_first for _ in range(20)} == {True, False}


def test_back_goes_page_by_page_to_the_apps_home_and_then_to_the_launcher() -> None:
    state = phone("shop/home")
    tap(state, "Search")
    gestures.type_text(state, "Lamp")
    tap(state, "Lamp")
    seen = [state.page]
    for _ in range(4):
        gestures.press(state, "BACK")
        seen.append(state.page)
    assert seen == ["shop/item/Lamp", "shop/results/Lamp", "shop/search", "shop/home", "launcher/home"]
    gestures.press(state, "BACK")
    assert state.page == "launcher/home"


def test_menu_shows_the_recent_apps_and_back_returns_from_them() -> None:
    state = phone("settings/Display")
    gestures.press(state, "MENU")
    assert state.page == "launcher/recents"
    gestures.press(state, "BACK")
    assert state.page == "settings/Display"
    gestures.press(state, "MENU")
    gestures.press(state, "HOME")
    gestures.press(state, "BACK")
    assert state.page == "launcher/home"


def test_every_tile_of_the_launcher_opens_its_app() -> None:
    for label in phone().data["launcher"]["tiles"]:
        state = phone()
        tap(state, label)
        assert APPS[state.app].label == label and state.page == f"{label.lower()}/home"


def test_long_press_opens_a_menu_and_a_choice_back_or_outside_tap_closes_it() -> None:
    for close in (
        lambda state: gestures.press(state, "BACK"),
        lambda state: gestures.tap(state, 56, 220, SIZE),
        lambda state: tap(state, "Share"),
    ):
        state = phone("clock/home")
        alarm = next(iter(state.data["clock"]["alarms"]))
        hold(state, alarm)
        assert names(state) == ["Clock", alarm, "Delete", "Share"]
        close(state)
        assert not state.menu and state.page == "clock/home" and alarm in state.data["clock"]["alarms"]


@pytest.mark.parametrize(
    ("page", "listing"), [("clock/home", "alarms"), ("messages/home", "chats"), ("shop/cart", "cart")]
)
def test_delete_in_the_menu_deletes_only_the_pressed_element(page: str, listing: str) -> None:
    state = phone(page)
    app = page.split("/")[0]
    before = list(state.data[app][listing])
    hold(state, before[1])
    tap(state, "Delete")
    assert list(state.data[app][listing]) == [before[0], *before[2:]]
    assert before[1] not in names(state)


def test_scrolling_settings_shows_rows_below_and_above() -> None:
    state = phone("settings/home")
    rows = state.data["settings"]["rows"]
    assert names(state)[1:] == rows[:VISIBLE]
    swipe(state, "up")
    assert names(state)[1:] == rows[-VISIBLE:] and set(rows[:VISIBLE]) | set(rows[-VISIBLE:]) == set(rows)
    swipe(state, "down")
    assert names(state)[1:] == rows[:VISIBLE]


def test_swipe_shorter_than_a_row_does_not_scroll_and_pages_open_at_the_top() -> None:
    state = phone("settings/home")
    swipe(state, "up", pixels=27)
    assert state.scroll == 0
    swipe(state, "up")
    tap(state, next(name for name in names(state)[1:] if name in ("Display", "Sound", "Battery", "About")))
    gestures.press(state, "BACK")
    assert state.page == "settings/home" and state.scroll == 0


def test_switches_toggle_and_show_their_state() -> None:
    state = phone("settings/Display")
    was = state.data["settings"]["on"]["Dark"]
    tap(state, "Dark")
    assert state.data["settings"]["on"]["Dark"] is not was
    assert gestures.screen_of(state).find("Dark").value == ("off" if was else "on")


def test_search_shows_a_known_item_among_others_and_only_others_for_unknown_text() -> None:
    state = phone("shop/search")
    gestures.type_text(state, "Lamp")
    shown = [element.name for element in gestures.screen_of(state).elements if element.kind == "row"]
    assert "Lamp" in shown and len(set(shown)) == 4
    gestures.type_text(state, "s/x")
    assert state.page == "shop/results/Lamps x" and "Lamp" not in names(state)


def test_second_search_replaces_the_results() -> None:
    state = phone("shop/search")
    for text in ("Lam", "p"):
        gestures.type_text(state, text)
    assert state.page == "shop/results/Lamp"
    gestures.press(state, "BACK")
    assert state.page == "shop/search"


@pytest.mark.parametrize("send", [lambda state: tap(state, "Send"), lambda state: gestures.press(state, "ENTER")])
def test_written_message_is_sent_by_its_button_or_enter(send) -> None:
    state = phone("messages/chat/Anna")
    assert gestures.screen_of(state).find("Send") is None
    gestures.type_text(state, "Hello")
    assert not state.data["messages"]["sent"] and gestures.screen_of(state).find("Write").value == "Hello"
    send(state)
    assert state.data["messages"]["sent"] == {"Anna": ["Hello"]} and not state.text and "Hello" in names(state)


def test_typing_without_a_field_does_nothing() -> None:
    for page in ("launcher/home", "settings/home", "shop/cart", "messages/home", "clock/home", "camera/home"):
        state = phone(page)
        before = state.copy()
        gestures.type_text(state, "Hello")
        gestures.press(state, "ENTER")
        assert state == before


def test_new_alarm_is_saved_by_keep_and_discarded_by_leaving_the_page() -> None:
    state = phone("clock/home")
    tap(state, "New")
    gestures.type_text(state, "Swim")
    gestures.press(state, "BACK")
    tap(state, "New")
    assert gestures.screen_of(state).find("Keep") is None
    gestures.type_text(state, "Swim")
    tap(state, "Keep")
    assert state.page == "clock/home" and state.data["clock"]["alarms"]["Swim"] and names(state)[1] == "Swim"


def test_volume_keys_stop_at_minimum_and_maximum() -> None:
    state = phone()
    for key, end in (("VOLUME_UP", 15), ("VOLUME_DOWN", 0)):
        for _ in range(20):
            gestures.press(state, key)
        assert state.volume == end


def test_keys_without_a_function_do_nothing() -> None:
    state = phone("shop/home")
    before = state.copy()
    for key in ("DEL", "TAB", "CAMERA", "A", "CTRL_LEFT+A", "NO_SUCH_KEY", ""):
        gestures.press(state, key)
    assert state == before
