"""The address of the adb server: adb's environment variables, and the error without a server."""

import contextlib
import socket

import pytest

from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.adb.stream import ServerAddress
from mobile_r1_jax.phones.phone import PhoneError, PhonesUnavailable
from mobile_r1_jax.phones.settings import INSTANT

SOCKET, HOST, PORT = "ADB_SERVER_SOCKET", "ANDROID_ADB_SERVER_ADDRESS", "ANDROID_ADB_SERVER_PORT"


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, ("127.0.0.1", 5037)),
        ({PORT: "5038"}, ("127.0.0.1", 5038)),
        ({HOST: "farm", PORT: "5038"}, ("farm", 5038)),
        ({HOST: "farm"}, ("farm", 5037)),
        ({SOCKET: "tcp:5039", PORT: "1", HOST: "x"}, ("127.0.0.1", 5039)),
        ({SOCKET: "tcp:farm.example:5040"}, ("farm.example", 5040)),
        ({SOCKET: "tcp:[::1]:5041"}, ("::1", 5041)),
        ({SOCKET: "", PORT: ""}, ("127.0.0.1", 5037)),
    ],
)
def test_environment_determines_the_address_of_the_server(
    environment: dict[str, str], address: tuple[str, int]
) -> None:
    assert ServerAddress.from_environment(environment) == ServerAddress(*address)


@pytest.mark.parametrize(
    "environment",
    [{PORT: "adb"}, {PORT: "0"}, {PORT: "65536"}, {SOCKET: "localabstract:adb"}, {SOCKET: "tcp:"}, {SOCKET: "farm:1"}],
)
def test_invalid_address_error_names_the_variable(environment: dict[str, str]) -> None:
    with pytest.raises(PhonesUnavailable, match=next(iter(environment))):
        ServerAddress.from_environment(environment)


def test_a_phone_uses_the_server_of_the_environment(monkeypatch, server: ServerAddress, recorded) -> None:
    phone, _ = recorded
    monkeypatch.setenv(SOCKET, f"tcp:localhost:{server.port}")
    assert AdbPhone(phone.serial, timings=INSTANT).screenshot().width == 112


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_missing_server_error_says_how_to_start_one(host: str) -> None:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(PhoneError, match=f"start one on that machine with `adb -P {port} start-server`") as caught:
        AdbPhone("R58M12", ServerAddress(host, port), INSTANT).screenshot()
    assert not caught.value.delivered and SOCKET in str(caught.value)


def test_unknown_host_error_names_the_host() -> None:
    with pytest.raises(PhoneError, match=r"no adb server answers at farm\.invalid:5037 .*adb -a -P 5037 nodaemon"):
        AdbPhone("R58M12", ServerAddress("farm.invalid"), INSTANT).screenshot()
