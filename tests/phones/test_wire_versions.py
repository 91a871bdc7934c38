"""Clients connect to a simulated phone's port without an adb server: old and new protocol versions."""

import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from mobile_r1_jax.phones.simulator.android.daemon import ListeningPhone
from mobile_r1_jax.phones.simulator.android.wire import CLSE, CNXN, OKAY, OPEN, VERSION, WRTE, encode
from mobile_r1_jax.phones.simulator.android.wire import Message as WireMessage
from mobile_r1_jax.phones.simulator.device import Device

OLD = 0x01000000


class RawClient:
    """A client of one connection: sends messages with checksums, and checks the frame of what it receives."""

    def __init__(self, port: int, version: int, banner: bytes = b"host::\0") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.checksums: list[tuple[int, int]] = []  # (sent, computed) of each payload received
        self.send(CNXN, version, 4096, banner)
        self.greeting = self.receive()

    def send(self, command: int, first: int, second: int, payload: bytes = b"") -> None:
        header = struct.pack(
            "<6I", command, first, second, len(payload), sum(payload) & 0xFFFFFFFF, command ^ 0xFFFFFFFF
        )
        self.socket.sendall(header + payload)

    def receive(self) -> tuple[int, int, int, bytes]:
        command, first, second, length, checksum, magic = struct.unpack("<6I", self._exactly(24))
        assert magic == command ^ 0xFFFFFFFF
        payload = self._exactly(length)
        self.checksums.append((checksum, sum(payload) & 0xFFFFFFFF))
        return command, first, second, payload

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            assert piece, "the phone hung up"
            data += piece
        return data

    def open(self, service: str, local: int = 7) -> int:
        """Open a service and return the phone's number of the stream."""
        self.send(OPEN, local, 0, service.encode() + b"\0")
        command, remote, mine, _ = self.receive()
        assert (command, mine) == (OKAY, local)
        return remote

    def run(self, line: str, local: int = 7) -> bytes:
        """Run a command line and return its output; both sides close the stream."""
        remote, output = self.open(f"shell:{line}", local), b""
        while True:
            command, first, second, payload = self.receive()
            assert (first, second) == (remote, local)
            if command == CLSE:
                self.send(CLSE, local, remote)
                return output
            assert command == WRTE
            output += payload
            self.send(OKAY, local, remote)


@pytest.fixture
def port(put_on_wire: Callable[[Device], ListeningPhone]) -> int:
    return put_on_wire(Device(size=(112, 224))).port


@pytest.fixture
def connected(port: int) -> Iterator[Callable[[int], RawClient]]:
    clients: list[RawClient] = []

    def connect(version: int) -> RawClient:
        clients.append(RawClient(port, version))
        return clients[-1]

    yield connect
    for client in clients:
        client.socket.close()


@pytest.mark.parametrize(
    ("offered", "agreed"), [(OLD, OLD), (VERSION, VERSION), (VERSION + 5, VERSION), (OLD - 1, OLD - 1)]
)
def test_lower_version_is_used_and_old_versions_get_checksums(
    connected: Callable[[int], RawClient], offered: int, agreed: int
) -> None:
    client = connected(offered)
    command, version, _, banner = client.greeting
    assert (command, version) == (CNXN, agreed) and banner.startswith(b"device::")
    assert client.run("echo hello; echo there") == b"hello\nthere\n"
    with_payload = [pair for pair in client.checksums if pair[1]]
    assert len(with_payload) >= 2
    assert all(sent == (computed if agreed < VERSION else 0) for sent, computed in with_payload)


def test_a_checksum_is_the_sum_of_the_bytes() -> None:
    header = struct.unpack_from("<6I", encode(WireMessage(WRTE, 1, 2, b"\xff" * 100), OLD))
    assert header[4] == 25500
    assert struct.unpack_from("<6I", encode(WireMessage(WRTE, 1, 2, b"\xff" * 100)))[4] == 0


@pytest.mark.parametrize("version", [OLD, VERSION])
@pytest.mark.parametrize("service", ["shell:sleep 9", "shell,v2,raw:cat", "exec:cat", "sync:", "shell:"])
def test_phone_answers_a_close(connected: Callable[[int], RawClient], version: int, service: str) -> None:
    client = connected(version)
    remote = client.open(service)
    client.send(CLSE, 7, remote)
    while True:
        command, first, second, _ = client.receive()
        if command == CLSE:
            break
        assert command == WRTE  # a prompt
    assert (first, second) == (remote, 7)
    assert client.run("echo still here", local=8) == b"still here\n"


def test_messages_of_closed_or_unknown_streams_are_ignored(connected: Callable[[int], RawClient]) -> None:
    client = connected(VERSION)
    assert client.run("true") == b""
    for command in (OKAY, WRTE, CLSE):
        client.send(command, 7, 1, b"late" if command == WRTE else b"")
    remote = client.open("shell:cat", local=9)
    client.send(CLSE, 1234, remote)  # of another stream
    client.send(WRTE, 9, remote, b"kept")
    assert client.receive()[:3] == (OKAY, remote, 9)
    assert client.receive() == (WRTE, remote, 9, b"kept")


def test_large_outputs_are_split_to_the_payload_of_the_client(connected: Callable[[int], RawClient]) -> None:
    client = connected(OLD)
    assert client.run("seq 5000") == b"".join(b"%d\n" % number for number in range(1, 5001))
    assert len(client.checksums) > 5


def test_two_clients_use_a_phone_at_once_and_close_their_own_streams(
    connected: Callable[[int], RawClient],
) -> None:
    first, second = connected(OLD), connected(VERSION)
    remote = first.open("shell:sleep 0.2; echo first")
    assert second.run("echo second") == b"second\n"
    assert first.receive() == (WRTE, remote, 7, b"first\n")


def test_reconnect_service_ends_the_connection(connected: Callable[[int], RawClient]) -> None:
    leaving, staying = connected(VERSION), connected(VERSION)
    remote = leaving.open("reconnect")
    assert leaving.receive() == (WRTE, remote, 7, b"done")
    leaving.send(OKAY, 7, remote)
    leaving.socket.settimeout(5)
    with pytest.raises((AssertionError, ConnectionError)):
        while True:
            leaving.receive()
    assert staying.run("echo here") == b"here\n"
