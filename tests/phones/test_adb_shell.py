"""The real adb binary: standard input, terminals, and phones that come back after they were lost."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from mobile_r1_jax.phones.adb.server import adb_path
from mobile_r1_jax.phones.adb.stream import ServerAddress, ask_server, states
from mobile_r1_jax.phones.providers.simulated import SimulatedPhone

Adb = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def adb(server: ServerAddress) -> Adb:
    def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [adb_path(), "-H", server.host, "-P", str(server.port), *arguments]
        return subprocess.run(command, capture_output=True, timeout=20, input=stdin)

    return run


@pytest.fixture
def to_phone(adb: Adb, phone: SimulatedPhone) -> Adb:
    def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return adb("-s", phone.serial, *arguments, stdin=stdin)

    return run


@pytest.mark.parametrize(
    ("arguments", "stdin", "expected"),
    [
        (("shell", "cat"), b"hello\n", b"hello\n"),
        (("shell", "cat"), b"", b""),
        (("shell", "cat"), bytes(range(256)) * 4000, bytes(range(256)) * 4000),
        (("shell", "wc -l; echo end"), b"a\nb\n", b"2\nend\n"),
        (("shell", "read x; echo got $x; cat"), b"one\ntwo\nthree\n", b"got one\ntwo\nthree\n"),
        (("shell", "grep b | sed s/b/c/"), b"a\nb\n", b"c\n"),
        (("shell", "sh"), b"cd /sdcard\npwd\n", b"/sdcard\n"),
        (("shell",), b"echo a; x=5\necho $x\n", b"a\n5\n"),
        (("shell",), b"for i in 1 2\ndo\necho $i\ndone\ncat <<E\nhere\nE\n", b"1\n2\nhere\n"),
        (("shell", "-T", "cat"), b"raw\n", b"raw\n"),
        (("shell", "-x", "echo v1; nosuch"), b"", b"v1\n/system/bin/sh: nosuch: inaccessible or not found\n"),
        (("shell", "-n", "cat"), b"", b""),
        (("shell", "-tt", "echo hi"), b"", b"hi\r\n"),
        (("exec-out", "printf 'a\\nb'"), b"", b"a\nb"),
    ],
)
def test_standard_input_reaches_commands_in_every_form(
    to_phone: Adb, arguments: tuple[str, ...], stdin: bytes, expected: bytes
) -> None:
    assert to_phone(*arguments, stdin=stdin).stdout == expected


def test_commands_and_scripts_return_their_exit_status(to_phone: Adb) -> None:
    assert to_phone("shell", "exit 7").returncode == 7
    assert to_phone("shell", stdin=b"true\nexit 9\necho never\n").returncode == 9
    assert to_phone("shell", stdin=b"nosuch\n").returncode == 127
    assert to_phone("shell", "cat >/nope/x", stdin=b"x").returncode == 1


def test_input_sent_with_exec_in_reaches_a_file(to_phone: Adb) -> None:
    content = os.urandom(300_000)
    to_phone("exec-in", "cat > /sdcard/sent", stdin=content)
    until = time.monotonic() + 5
    while (received := to_phone("exec-out", "cat /sdcard/sent").stdout) != content and time.monotonic() < until:
        time.sleep(0.05)
    assert received == content


def test_output_arrives_while_the_command_still_runs(phone: SimulatedPhone, server: ServerAddress) -> None:
    command = [adb_path(), "-H", server.host, "-P", str(server.port), "-s", phone.serial, "shell"]
    began = time.monotonic()
    with subprocess.Popen([*command, "echo early; sleep 5; echo late"], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stdout.readline() == b"early\n"
        assert phone.shell("echo quick").stdout == "quick\n"
        assert time.monotonic() - began < 4
        running.kill()


def test_command_output_arrives_without_delayed_acknowledgements(phone: SimulatedPhone) -> None:
    def seconds() -> float:
        began = time.perf_counter()
        phone.shell("true")
        return time.perf_counter() - began

    assert min(seconds() for _ in range(20)) < 0.03  # 44 ms where the phone's socket delays small packets


class Typist:
    """Types into `adb shell` on a terminal."""

    def __init__(self, server: ServerAddress, serial: str) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            command = [adb_path(), "-H", server.host, "-P", str(server.port), "-s", serial, "shell"]
            os.execv(command[0], command)

    def read_to(self, end: bytes) -> bytes:
        """Return what the terminal shows up to and including `end`."""
        shown, until = b"", time.monotonic() + 10
        while not shown.endswith(end):
            assert time.monotonic() < until, f"no {end!r} after {shown!r}"
            if select.select([self.descriptor], [], [], 0.1)[0]:
                shown += os.read(self.descriptor, 4096)
        return shown

    def type(self, keys: bytes, end: bytes = b":/ $ ") -> bytes:
        os.write(self.descriptor, keys)
        return self.read_to(end)

    def status(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def typist(phone: SimulatedPhone, server: ServerAddress) -> Iterator[Typist]:
    typist = Typist(server, phone.serial)
    yield typist
    os.close(typist.descriptor)


def test_interactive_shell_works_on_a_terminal(typist: Typist) -> None:
    prompt = b"simulated:/ $ "
    assert typist.read_to(prompt) == prompt
    assert typist.type(b"echo hi\r") == b"echo hi\r\nhi\r\n" + prompt
    assert typist.type(b"x=1; ecxx\x7f\x7fho $x\r").endswith(b"\r\n1\r\n" + prompt)
    assert typist.type(b"nosuch\r").endswith(b"\r\n/system/bin/sh: nosuch: inaccessible or not found\r\n" + prompt)
    assert typist.type(b"fi\r").endswith(b"/system/bin/sh: syntax error: unexpected 'fi'\r\n" + prompt)
    assert typist.type(b"for i in 1 2\r", b"> ") == b"for i in 1 2\r\n> "
    assert typist.type(b"do echo $i; done\r").endswith(b"\r\n1\r\n2\r\n" + prompt)
    assert typist.type(b"cat\r", b"\n") == b"cat\r\n"
    assert typist.type(b"line\r", b"line\r\nline\r\n")
    assert typist.type(b"\x04") == prompt
    assert typist.type(b"cd /sdcard\r", b"/sdcard $ ")
    os.write(typist.descriptor, b"exit 9\r")
    assert typist.status() == 9


@pytest.mark.parametrize("running", [b"sleep 60", b"while true; do :; done", b"cat", b"sleep 60 | cat"])
def test_control_c_ends_the_command_and_not_the_shell(typist: Typist, running: bytes) -> None:
    typist.read_to(b":/ $ ")
    typist.type(running + b"\r", b"\r\n")
    assert typist.type(b"\x03").startswith(b"^C\r\n")
    assert b"\r\n130\r\n" in typist.type(b"echo $?\r")
    assert typist.type(b"half a line\x03").count(b"\r\n") == 1
    os.write(typist.descriptor, b"\x04")
    assert typist.status() in (0, 130)


def wait_for(server: ServerAddress, serial: str, seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while states(server, 5).get(serial) != "device":
        assert time.monotonic() < until, f"{serial} is {states(server, 5).get(serial)}"
        time.sleep(0.02)


@pytest.mark.parametrize(
    "loss",
    [
        ("-s", "SERIAL", "reboot"),
        ("-s", "SERIAL", "shell", "reboot"),
        ("-s", "SERIAL", "reconnect"),
        ("-s", "SERIAL", "reconnect", "device"),
        ("disconnect", "SERIAL"),
        ("disconnect",),
    ],
)
def test_announced_phone_reconnects_after_a_loss(
    adb: Adb, phones: tuple[SimulatedPhone, ...], server: ServerAddress, loss: tuple[str, ...]
) -> None:
    phone, other = phones[0], phones[1]
    phone.shell("echo kept > /sdcard/kept; input keyevent HOME")
    adb(*(phone.serial if word == "SERIAL" else word for word in loss))
    if loss != ("disconnect",):
        assert other.shell("echo undisturbed").stdout == "undisturbed\n"
    time.sleep(0.1)
    for each in phones:
        wait_for(server, each.serial)
    assert phone.shell("cat /sdcard/kept").stdout == "kept\n"


def test_reboot_in_an_open_shell_ends_it_at_once(to_phone: Adb, phone: SimulatedPhone, server: ServerAddress) -> None:
    began = time.monotonic()
    to_phone("shell", stdin=b"sleep 30 &\nreboot\nsleep 30\n")
    assert time.monotonic() - began < 10
    time.sleep(0.1)
    wait_for(server, phone.serial)
    assert phone.shell("echo back").stdout == "back\n"


@pytest.mark.parametrize("loss", ["reboot", "shell reboot", "disconnect"])
def test_phone_added_by_adb_connect_reconnects_after_a_loss(
    adb: Adb, phones: tuple[SimulatedPhone, ...], server: ServerAddress, loss: str
) -> None:
    phone = phones[2]
    address = f"127.0.0.1:{int(phone.serial.removeprefix('emulator-')) + 1}"
    assert b"connected to" in adb("connect", address).stdout
    wait_for(server, address)
    try:
        if loss == "disconnect":
            adb("disconnect", address)
            assert address not in states(server, 5)
            adb("connect", address)
        else:
            adb("-s", address, *loss.split())
            time.sleep(0.1)
        wait_for(server, address)
        assert adb("-s", address, "shell", "echo back").stdout == b"back\n"
        wait_for(server, phone.serial)  # it was announced as well
    finally:
        adb("disconnect", address)


def test_reboot_ends_commands_on_that_phone_only(
    adb: Adb, phones: tuple[SimulatedPhone, ...], server: ServerAddress
) -> None:
    phone, other = phones[3], phones[4]
    base = [adb_path(), "-H", server.host, "-P", str(server.port), "-s"]
    with (
        subprocess.Popen([*base, phone.serial, "shell", "sleep 60"]) as lost,
        subprocess.Popen([*base, other.serial, "shell", "sleep 1; echo fine"], stdout=subprocess.PIPE) as kept,
    ):
        time.sleep(0.3)
        adb("-s", phone.serial, "reboot")
        assert lost.wait(10) != 0
        assert kept.communicate(timeout=10)[0] == b"fine\n"
    wait_for(server, phone.serial)
    assert ask_server(server, "host:version", 5)
