"""The live page shows the screens of adb, sends inputs to the phone, and is closed to other web pages."""

import hashlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mobile_r1_jax.phones.adb.stream import ServerAddress
from mobile_r1_jax.phones.providers.simulated import SimulatedPhone
from mobile_r1_jax.phones.simulator.android.daemon import ListeningPhone
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.phones.simulator.page import MOST_BYTES, PageServer

SIZE = (216, 480)
CHAT = {"template": "send", "parameters": {"name": "Anna", "word": "Hello"}, "seed": 1}


@pytest.fixture(scope="module")
def page(put_on_wire: Callable[[Device], ListeningPhone]) -> Iterator[PageServer]:
    """Two phones on one page, served in this process."""
    phones = [put_on_wire(Device(SIZE, seed)) for seed in range(2)]
    with PageServer(phones, phones[0].server.get_loop()) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def phone(page: PageServer, server: ServerAddress) -> SimulatedPhone:
    """The second phone over adb, in an open chat."""
    phone = SimulatedPhone(page.phones[1].android.serial, server)
    phone.simulator("reset", CHAT)
    phone.shell("monkey -p com.sim.messages 1")
    return phone


def request(page: PageServer, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", page.server_port, timeout=10)
    connection.request(method, path, body or None, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.read()


def act(page: PageServer, action: Any, number: int = 1) -> int:
    return request(page, "POST", f"/phones/{number}", json.dumps(action).encode(), X_Token=page.token)[0]


def look(page: PageServer, number: int = 1) -> dict[str, Any]:
    return json.loads(request(page, "GET", f"/phones/{number}")[1])


def center(page: PageServer, name: str) -> list[int]:
    elements = page.phones[1].android.device.elements()
    return list(next(element for element in elements if element.name == name).center(SIZE))


def test_page_lists_every_phone_and_shows_the_screen_of_adb(page: PageServer, phone: SimulatedPhone) -> None:
    listed = json.loads(request(page, "GET", "/phones")[1])
    assert [one["name"] for one in listed] == [f"127.0.0.1:{phone.port}" for phone in page.phones]
    assert {(one["width"], one["height"]) for one in listed} == {SIZE}
    before = look(page)
    assert request(page, "GET", "/phones/1/screen")[1] == phone.screenshot().png
    phone.shell("input keyevent HOME")
    assert look(page)["screen"] != before["screen"]
    assert request(page, "GET", "/phones/1/screen?1")[1] == phone.screenshot().png
    assert look(page, 0)["screen"] != before["screen"]  # the other phone has a different screen


@pytest.mark.parametrize(
    ("kind", "leave"),
    [("secure", "HOME"), ("slow", "HOME"), ("asleep", "WAKEUP"), ("black", "HOME"), ("truncated", "HOME")],
)
def test_viewing_the_page_does_not_count_as_a_capture(
    page: PageServer, phone: SimulatedPhone, kind: str, leave: str
) -> None:
    whole = phone.service("exec:screencap -p")
    phone.simulator("trouble", {"script": [{"kind": kind}], "durations": {}})
    troubled = phone.service("exec:screencap -p")
    for _ in range(9):
        seen = look(page)["screen"], request(page, "GET", "/phones/1/screen")[1]
    assert seen[0] == hashlib.sha256(seen[1]).hexdigest()[:16]
    shows_it = kind in ("secure", "slow", "asleep")  # the other kinds affect only the capture
    assert seen[1] == (troubled if shows_it else whole)
    assert (phone.service("exec:screencap -p") == troubled) == shows_it  # a slow page is slow for one more capture
    phone.shell(f"input keyevent {leave}")
    assert look(page)["screen"] != seen[0]


def test_click_hold_and_drag_are_tap_long_press_and_swipe(page: PageServer, phone: SimulatedPhone) -> None:
    anna = center(page, "Anna")
    assert act(page, {"touch": [*anna, *anna, 600]}) == 200
    assert "Delete" in phone.shell("uiautomator dump /sdcard/w.xml; cat /sdcard/w.xml").stdout
    assert act(page, {"key": "BACK"}) == 200
    assert act(page, {"touch": [*anna, *anna, 80]}) == 200
    assert phone.simulator("state")["page"] == "messages/chat/Anna"
    phone.shell("monkey -p com.sim.settings 1")
    top = look(page)["screen"]
    assert act(page, {"touch": [100, 400, 100, 100, 200]}) == 200
    assert look(page)["screen"] != top


@pytest.mark.parametrize(("key", "shown"), [("HOME", "launcher/home"), ("APP_SWITCH", "launcher/recents")])
def test_keys_reach_the_phone(page: PageServer, phone: SimulatedPhone, key: str, shown: str) -> None:
    assert act(page, {"key": key}) == 200
    assert phone.simulator("state")["page"] == shown


@pytest.mark.parametrize("text", ["Hello", "你好，世界", "a'b\"c $HOME;%s", "é"])
def test_page_types_text_and_shows_the_progress_of_the_task(page: PageServer, phone: SimulatedPhone, text: str) -> None:
    assert look(page)["task"] == "Send Hello to Anna" and not look(page)["done"]
    anna = center(page, "Anna")
    act(page, {"touch": [*anna, *anna, 50]})
    write = center(page, "Write")
    act(page, {"touch": [*write, *write, 50]})
    assert act(page, {"text": text}) == 200
    assert act(page, {"key": "ENTER"}) == 200
    assert phone.simulator("state")["messages"]["sent"] == {"Anna": [text]}
    assert look(page)["done"] is (text == "Hello")


def test_invalid_input_is_refused(page: PageServer, phone: SimulatedPhone) -> None:
    before = phone.simulator("state")
    wrong = ({}, [], 1, "tap", None, {"touch": [1, 2]}, {"touch": [1, 2, 3, 4, "5"]}, {"touch": [1, 2, 3, 4, True]})
    for action in (*wrong, {"key": "HOME; rm"}, {"key": ["HOME"]}, {"text": 1}, {"key": "HOME", "text": "a"}, {"x": 1}):
        assert act(page, action) == 400, action
    for body in (b"{", b"\xff", b"[" * 60_000, b'{"touch": [1e9999]}'):
        assert request(page, "POST", "/phones/1", body, X_Token=page.token)[0] == 400
    assert request(page, "POST", "/phones/1", b" " * (MOST_BYTES + 1), X_Token=page.token)[0] == 413
    assert phone.simulator("state") == before


def test_points_outside_the_screen_touch_nothing(page: PageServer, phone: SimulatedPhone) -> None:
    before = phone.simulator("state")
    for point in ([-1, 5], [SIZE[0], 5], [5, 10**12]):
        assert act(page, {"touch": [*point, *point, 50]}) == 200
    assert phone.simulator("state") == before


@pytest.mark.parametrize(
    "path", ["/phones/2", "/phones/-1", "/phones/x", "/../page.py", "/phones/1/other", "/phones/", "/x"]
)
def test_other_paths_are_not_found(page: PageServer, path: str) -> None:
    assert request(page, "GET", path)[0] == 404
    assert request(page, "POST", path, b"{}", X_Token=page.token)[0] == 404


@pytest.mark.parametrize("token", ["", "x", "é", None])
def test_input_without_the_token_of_the_page_is_refused(
    page: PageServer, phone: SimulatedPhone, token: str | None
) -> None:
    headers = {} if token is None else {"X_Token": token}
    before = phone.simulator("state")
    assert request(page, "POST", "/phones/1", b'{"key": "HOME"}', **headers)[0] == 403
    assert phone.simulator("state") == before


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "localhost@evil"])
@pytest.mark.parametrize("path", ["/", "/phones", "/phones/1", "/phones/1/screen"])
def test_requests_with_other_host_names_are_refused(page: PageServer, host: str, path: str) -> None:
    status, body = request(page, "GET", path, Host=host)
    assert status == 403 and page.token.encode() not in body
    assert request(page, "POST", path, b'{"key": "HOME"}', Host=host, X_Token=page.token)[0] == 403


def test_page_contains_its_token_and_a_strict_content_policy(page: PageServer) -> None:
    connection = http.client.HTTPConnection("localhost", page.server_port, timeout=10)
    connection.request("GET", "/")
    answer = connection.getresponse()
    text, policy = answer.read().decode(), answer.getheader("Content-Security-Policy", "")
    assert page.token in text and "{{" not in text
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert page.server_address[0] == "127.0.0.1"


def test_aborted_and_silent_connections_have_no_effect(page: PageServer, capfd: pytest.CaptureFixture[str]) -> None:
    for data in (b"", b"GET", b"\x16\x03\x01\x02", b"GET /phones/1/screen HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50):
        with socket.create_connection(("127.0.0.1", page.server_port)) as client:
            client.sendall(data)
    time.sleep(0.2)
    assert request(page, "GET", "/phones")[0] == 200
    assert "Traceback" not in capfd.readouterr().err
