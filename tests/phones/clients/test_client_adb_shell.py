"""adb-shell drives the simulated phone without any adb server: it speaks the device protocol with checksums."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served_phones import CHAT_FIELD, CHAT_SEND, Served, wait

pytestmark = pytest.mark.slow


@pytest.fixture
def device(served: Served) -> Iterator[Any]:
    from adb_shell.adb_device import AdbDeviceTcp

    device = AdbDeviceTcp("127.0.0.1", served.ports[0], default_transport_timeout_s=5)
    assert device.connect(auth_timeout_s=1)
    yield device
    device.close()


def test_shell_returns_output_and_exit_status(device: Any) -> None:
    assert device.shell("echo out; echo err >&2") == "out\nerr\n"
    assert device.shell("false; echo $?") == "1\n"
    assert "".join(device.streaming_shell("echo a; echo b")) == "a\nb\n"
    assert device.exec_out("echo raw", decode=False) == b"raw\n"


def test_files_are_pushed_and_pulled(device: Any, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "up").write_bytes(content)
    device.push(str(tmp_path / "up"), "/sdcard/Download/up")
    mode, size, _ = device.stat("/sdcard/Download/up")
    assert size == len(content) and mode & 0o170000 == 0o100000
    assert b"up" in {bytes(entry.filename) for entry in device.list("/sdcard/Download")}
    device.pull("/sdcard/Download/up", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == content


def test_client_types_and_sends_a_message(device: Any, chat: str, sent: Callable[[], list[str]]) -> None:
    assert device.exec_out("screencap -p", decode=False).startswith(b"\x89PNG")
    device.shell("input tap {} {}; input text Hello; input tap {} {}".format(*CHAT_FIELD, *CHAT_SEND))
    assert sent() == ["Hello"]


def test_many_streams_open_in_sequence_and_two_connections_share_a_phone(device: Any, served: Served) -> None:
    for number in range(50):
        assert device.shell(f"echo {number}") == f"{number}\n"
    assert served.phones[0].shell("echo through the server").stdout == "through the server\n"


def test_client_reconnects_to_a_rebooted_phone(device: Any) -> None:
    from adb_shell.exceptions import AdbConnectionError, AdbTimeoutError, TcpTimeoutException

    device.reboot()
    device.close()

    def is_back() -> bool:  # a connection from just before the phone goes down ends with it
        try:
            return device.connect(auth_timeout_s=1) and device.shell("echo back", read_timeout_s=1) == "back\n"
        except (OSError, AdbConnectionError, AdbTimeoutError, TcpTimeoutException):
            device.close()
            return False

    assert wait(is_back)
