"""ppadb (pure-python-adb) drives the simulated phone."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from served_phones import CHAT_FIELD, CHAT_SEND, Served, wait

pytestmark = pytest.mark.slow


@pytest.fixture
def client(served: Served) -> Any:
    from ppadb.client import Client

    return Client(served.server.host, served.server.port)


def test_phones_are_listed_and_connected(client: Any, served: Served) -> None:
    assert {device.serial for device in client.devices("device")} == set(served.serials)
    assert client.version() >= 41
    port = served.ports[1]
    assert client.remote_connect("127.0.0.1", port)
    assert client.device(f"127.0.0.1:{port}").shell("echo over tcp") == "over tcp\n"
    assert client.remote_disconnect("127.0.0.1", port)


def test_shell_returns_output_and_exit_status(client: Any, served: Served) -> None:
    device = client.device(served.serials[0])
    assert device.shell("echo out; echo err >&2") == "out\nerr\n"
    assert device.shell("false; echo $?") == "1\n"
    assert device.get_properties()["ro.product.model"] == "Simulated Phone"
    assert tuple(device.wm_size()) == (1080, 2400)
    assert device.wm_density() == 3  # times 160 dots per inch
    assert device.wait_boot_complete()


def test_files_are_pushed_and_pulled(client: Any, served: Served, tmp_path: Path) -> None:
    device, content = client.device(served.serials[0]), os.urandom(300_000)
    (tmp_path / "up").write_bytes(content)
    device.push(str(tmp_path / "up"), "/sdcard/Download/up")
    device.pull("/sdcard/Download/up", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == content


def test_client_types_and_sends_a_message(client: Any, chat: str, sent: Callable[[], list[str]]) -> None:
    device = client.device(chat)
    assert bytes(device.screencap()).startswith(b"\x89PNG")
    device.input_tap(*CHAT_FIELD)
    device.input_text("Hello")
    device.input_tap(*CHAT_SEND)
    assert sent() == ["Hello"]
    device.input_keyevent("KEYCODE_HOME")
    assert device.get_top_activity().package == "com.sim.launcher"


def test_client_lists_installed_apps(client: Any, served: Served) -> None:
    from ppadb import InstallError

    device = client.device(served.serials[0])
    assert device.is_installed("com.sim.shop") and not device.is_installed("com.none")
    assert "com.sim.shop" in device.list_packages()
    assert device.get_battery_level() == 100
    with pytest.raises(InstallError):
        device.install(__file__)


def test_client_reconnects_to_a_rebooted_phone(client: Any, served: Served) -> None:
    device = client.device(served.serials[0])
    device.reboot()
    wait(lambda: served.serials[0] not in {each.serial for each in client.devices("device")}, 2)
    assert served.is_back(served.serials[0])
    assert device.shell("echo back") == "back\n"
