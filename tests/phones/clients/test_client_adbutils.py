"""adbutils drives the simulated phone; tests/phones/test_adbutils_calls.py tests single calls."""

from collections.abc import Callable
from pathlib import Path

import adbutils
import pytest
from served_phones import CHAT_FIELD, CHAT_SEND, Served

pytestmark = pytest.mark.slow


@pytest.fixture
def client(served: Served) -> adbutils.AdbClient:
    return adbutils.AdbClient(served.server.host, served.server.port, socket_timeout=10)


def test_phones_are_listed_connected_and_disconnected(client: adbutils.AdbClient, served: Served) -> None:
    assert {device.serial for device in client.device_list()} == set(served.serials)
    address = f"127.0.0.1:{served.ports[1]}"
    assert "connected to" in client.connect(address)
    assert client.device(address).shell("echo over tcp") == "over tcp"
    client.disconnect(address, raise_error=True)
    assert "failed to connect" in client.connect("127.0.0.1:1")


def test_standard_input_reaches_a_command(client: adbutils.AdbClient, served: Served) -> None:
    stream = client.device(served.serials[0]).shell("read line; echo got $line", stream=True)
    stream.conn.sendall(b"a line\n")
    assert stream.read_until_close() == "got a line\n"
    stream.close()


def test_files_are_pushed_and_pulled(client: adbutils.AdbClient, served: Served, tmp_path: Path) -> None:
    device = client.device(served.serials[0])
    (tmp_path / "up").write_bytes(b"payload" * 50_000)
    device.sync.push(tmp_path / "up", "/sdcard/Download/up")
    device.sync.pull("/sdcard/Download/up", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes()


def test_client_types_and_sends_a_message(client: adbutils.AdbClient, chat: str, sent: Callable[[], list[str]]) -> None:
    device = client.device(chat)
    assert device.screenshot(error_ok=False).size == (1080, 2400)
    device.click(*CHAT_FIELD)
    device.send_keys("Hello")
    device.click(*CHAT_SEND)
    assert sent() == ["Hello"]
    device.swipe(540, 1800, 540, 600, 0.3)
    device.keyevent("HOME")
    assert device.app_current().package == "com.sim.launcher"
    assert 'text="Home"' in device.dump_hierarchy()


@pytest.mark.parametrize("how", ["reboot", "reconnect"])
def test_client_reconnects_to_a_lost_phone(client: adbutils.AdbClient, served: Served, how: str) -> None:
    device = client.device(served.serials[0])
    if how == "reboot":
        device.reboot()
    else:
        with client.make_connection() as connection:
            connection.send_command(f"host-serial:{device.serial}:reconnect")
            connection.check_okay()
    assert served.is_back(device.serial)
    assert device.shell("echo back") == "back"
