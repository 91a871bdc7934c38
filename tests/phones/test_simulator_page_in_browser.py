"""The live page in a real browser, with real clicks and keys. Needs chromium: apt-get install chromium."""

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mobile_r1_jax.phones.simulator.android.daemon import ListeningPhone
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.phones.simulator.page import PageServer

pytestmark = pytest.mark.slow
SIZE = (1080, 2400)
CHAT = {"template": "send", "parameters": {"name": "Anna", "word": "Hello"}, "seed": 1}
BOX = "JSON.stringify((({x, y, width, height}) => [x, y, width, height])(%s.getBoundingClientRect()))"


class Browser:
    """A tab of chromium, driven over a pipe with the DevTools protocol."""

    def __init__(self, profile: Path) -> None:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        assert program, "this test needs chromium: apt-get install chromium"
        (theirs_in, self._out), (self._in, theirs_out) = os.pipe(), os.pipe()
        flags = ("--headless", "--no-sandbox", "--no-first-run", "--disable-gpu", "--window-size=1200,1000")
        line = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$0" "$@"'
        command = ["/bin/bash", "-c", line, program, *flags, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self._read, self._number, self._session = open(self._in, "rb"), 0, ""  # noqa: SIM115
        self.complaints: list[Any] = []

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._message())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(answer["params"])

    def open(self, url: str) -> None:
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Runtime.enable")
        self.ask("Log.enable")
        self.ask("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        return self.ask("Runtime.evaluate", expression=expression)["result"].get("value")

    def mouse(self, kind: str, x: float, y: float) -> None:
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def key(self, name: str, text: str = "") -> None:
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=name, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=name)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._read.close()
        os.close(self._out)

    def _message(self) -> bytes:
        data = bytearray()
        while (byte := self._read.read(1)) != b"\0":
            assert byte, "the browser has ended"
            data += byte
        return bytes(data)


def wait_until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def page(put_on_wire: Callable[[Device], ListeningPhone]) -> Iterator[PageServer]:
    phones = [put_on_wire(Device(SIZE, seed)) for seed in range(2)]
    with PageServer(phones, phones[0].server.get_loop()) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def test_person_can_do_a_task_with_mouse_and_keyboard(page: PageServer, tmp_path: Path) -> None:
    device = page.phones[1].android.device
    page.run(lambda: device.reset(CHAT))

    def state() -> dict[str, Any]:
        return page.run(device.state)

    with contextlib.closing(Browser(tmp_path / "profile")) as browser:
        browser.open(page.url)
        screen = "document.querySelectorAll('img')[1]"
        wait_until(lambda: browser.value(f"{screen}?.naturalWidth") == SIZE[0])

        def touch(name: str, *, hold: float = 0, drag: float = 0) -> None:
            element = next(element for element in page.run(device.elements) if element.name == name)
            x, y, width, height = json.loads(browser.value(BOX % screen))
            across, down = element.center(SIZE)
            at = x + across * width / SIZE[0], y + down * height / SIZE[1]
            browser.mouse("mousePressed", *at)
            time.sleep(hold)
            browser.mouse("mouseMoved", at[0], at[1] + drag)
            browser.mouse("mouseReleased", at[0], at[1] + drag)

        touch("Messages")
        wait_until(lambda: state()["page"] == "messages/home")
        touch("Anna", hold=0.6)
        wait_until(lambda: any(element.name == "Delete" for element in page.run(device.elements)))
        browser.value("document.querySelectorAll('article')[1].querySelector('.keys button').click()")
        wait_until(lambda: all(element.name != "Delete" for element in page.run(device.elements)))
        touch("Anna", drag=2)  # a small movement of the hand
        wait_until(lambda: state()["page"] == "messages/chat/Anna")
        touch("Write")
        for letter in "你好":
            browser.key(letter, letter)
        browser.key("Enter")
        wait_until(lambda: state()["messages"]["sent"].get("Anna"))
        status = "document.querySelectorAll('output')[1].textContent"
        wait_until(lambda: browser.value(status).endswith("steps to go"))
        browser.value("document.querySelectorAll('input')[1].focus()")
        browser.ask("Input.insertText", text="Hello")
        browser.key("Enter", "\r")
        wait_until(lambda: any(element.name == "Send" for element in page.run(device.elements)))
        touch("Send")
        wait_until(lambda: browser.value(status) == "Send Hello to Anna: done")
        assert state()["messages"]["sent"]["Anna"][-1] == "Hello"
        assert page.run(page.phones[0].android.device.state)["page"] == "launcher/home"
        assert not browser.complaints
