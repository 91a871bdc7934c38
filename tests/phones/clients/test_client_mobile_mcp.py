"""mobile-mcp, a tool for language models, drives the simulated phone. Install it by `npm install` here."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from served_phones import Served

from mobile_r1_jax.phones.adb.server import adb_path

pytestmark = pytest.mark.slow

SERVER = Path(__file__).parent / "node_modules/@mobilenext/mobile-mcp/lib/index.js"
Tool = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def tool(served: Served, tmp_path: Path) -> Iterator[Tool]:
    """Call a tool on the first phone and return its content."""
    assert SERVER.exists(), f"there is no {SERVER}: run npm install in {Path(__file__).parent}"
    (tmp_path / "platform-tools").mkdir()
    (tmp_path / "platform-tools/adb").symlink_to(adb_path())
    environment = {
        "ANDROID_ADB_SERVER_PORT": str(served.server.port),
        "ANDROID_HOME": str(tmp_path),
        "HOME": str(tmp_path),
        "MOBILEMCP_DISABLE_TELEMETRY": "1",
    }
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    command = ["node", str(SERVER), "--stdio"]
    with subprocess.Popen(command, env=os.environ | environment, text=True, bufsize=1, **pipes) as process:
        numbers = count(1)

        def ask(method: str, parameters: dict[str, Any]) -> dict[str, Any]:
            number = next(numbers)
            request = {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}
            process.stdin.write(json.dumps(request) + "\n")
            return next(answer for answer in map(json.loads, process.stdout) if answer.get("id") == number)["result"]

        def call(name: str, **arguments: Any) -> list[dict[str, Any]]:
            arguments["device"] = served.serials[0]
            return ask("tools/call", {"name": f"mobile_{name}", "arguments": arguments})["content"]

        client = {"name": "test", "version": "1"}
        ask("initialize", {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": client})
        process.stdin.write('{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')
        yield call
        process.kill()


def test_client_types_and_sends_a_message(tool: Tool, served: Served, chat: str, sent: Callable[[], list[str]]) -> None:
    def touch(label: str) -> None:
        [elements] = tool("list_elements_on_screen")
        line = next(line for line in elements["text"].splitlines() if f'"{label}"' in line)
        x, y, width, height = map(int, re.search(r"at=(\d+),(\d+) size=(\d+)x(\d+)", line).groups())
        tool("click_on_screen_at_coordinates", x=x + width // 2, y=y + height // 2)

    assert "1080x2400" in tool("get_screen_size")[0]["text"]
    assert all(serial in tool("list_available_devices")[0]["text"] for serial in served.serials)
    assert "image" in {part["type"] for part in tool("take_screenshot")}
    touch("Write")
    tool("type_keys", text="Hello", submit=False)
    touch("Send")
    assert sent() == ["Hello"]
    tool("launch_app", packageName="com.sim.shop")
    assert served.phones[0].simulator("state")["page"] == "shop/home"
    tool("press_button", button="HOME")
    assert served.phones[0].simulator("state")["page"] == "launcher/home"
    assert "portrait" in tool("get_orientation")[0]["text"]
