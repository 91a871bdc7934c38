"""uiautomator2's adb layer drives the simulated phone. Its server on the phone is an app that cannot run here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from served_phones import CHAT_FIELD, CHAT_SEND, Served

pytestmark = pytest.mark.slow


@pytest.fixture
def device(served: Served) -> Any:
    import adbutils
    import uiautomator2

    class AdbLayer(uiautomator2.Device):
        def start_uiautomator(self) -> None:
            """Start nothing."""

        def stop_uiautomator(self, wait: bool = True) -> None:
            """Stop nothing."""

    return AdbLayer(adbutils.AdbClient(served.server.host, served.server.port).device(served.serials[0]))


def test_shell_returns_output_and_exit_status(device: Any) -> None:
    assert tuple(device.shell("echo hi; false")) == ("hi\n", 1)
    assert tuple(device.shell(["echo", "a  b"])) == ("a  b\n", 0)
    assert device.device_info["model"] == "Simulated Phone"
    assert device.window_size() == (1080, 2400)


def test_files_are_pushed_and_pulled(device: Any, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(b"payload" * 50_000)
    device.push(str(tmp_path / "up"), "/sdcard/Download/up")
    device.pull("/sdcard/Download/up", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes()


def test_apps_start_and_stop(device: Any) -> None:
    assert "com.sim.shop" in device.app_list("com.sim")
    device.app_start("com.sim.shop")
    assert device.app_current()["package"] == "com.sim.shop"
    assert device.app_wait("com.sim.shop", timeout=2)
    assert "com.sim.shop" in device.app_list_running()
    assert device.app_info("com.sim.shop")["versionName"] == "1.0"
    device.app_stop("com.sim.shop")
    assert device.app_current()["package"] == "com.sim.launcher"
    device.app_start("com.android.deskclock", use_monkey=True)
    assert device.app_current()["package"] == "com.android.deskclock"
    device.app_start("com.sim.shop", ".HomeActivity", wait=True)
    assert device.app_current()["package"] == "com.sim.shop"


def test_client_types_and_sends_a_message(device: Any, chat: str, sent: Callable[[], list[str]]) -> None:
    assert device.adb_device.screenshot(error_ok=False).size == (1080, 2400)
    device.shell("input tap {} {}; input text Hello; input tap {} {}".format(*CHAT_FIELD, *CHAT_SEND))
    assert sent() == ["Hello"]
    device.keyevent("home")
    assert device.app_current()["package"] == "com.sim.launcher"
    assert device.current_ime() == "com.android.inputmethod.latin/.LatinIME"
