"""The adb daemon of the simulated phones: one port per phone, which a real adb server connects to."""

import asyncio
import socket
import struct
from dataclasses import dataclass

from mobile_r1_jax.phones.simulator.android.commands import COMMANDS
from mobile_r1_jax.phones.simulator.android.commands.installation import streamed_install
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, run
from mobile_r1_jax.phones.simulator.android.sync import serve_sync
from mobile_r1_jax.phones.simulator.android.system import PROPERTIES, Android, Device
from mobile_r1_jax.phones.simulator.android.wire import Connection, Handler, Stream

FEATURES = "shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir"
_NAMED = ("ro.product.name", "ro.product.model", "ro.product.device")
BANNER = f"device::{''.join(f'{name}={PROPERTIES[name]};' for name in _NAMED)}features={FEATURES}".encode()
_EXIT = 3  # shell v2: the packet with the exit status; 1 and 2 are the outputs


@dataclass(frozen=True)
class ListeningPhone:
    """A simulated phone that listens on `host` and `port`."""

    android: Android
    host: str
    port: int
    server: asyncio.Server


async def listen(device: Device, host: str = "127.0.0.1", port: int = 0, version: int = 14) -> ListeningPhone:
    """Serve `device` on a port as long as the event loop runs; `port` 0 takes a free port.

    `version` is the Android version, one of `system.SDK`. Raises OSError if the port cannot be opened.
    """
    android: Android

    def connect() -> Connection:
        return Connection(BANNER, lambda service: find_service(android, service))

    listener = socket.create_server((host, port))  # asyncio ignores the error when no descriptor is free
    port = listener.getsockname()[1]
    server = await asyncio.get_running_loop().create_server(connect, sock=listener)
    # adb gives a phone that is announced as an emulator the serial emulator-(port - 1).
    android = Android(device, f"emulator-{port - 1}", COMMANDS, version)
    return ListeningPhone(android, host, port, server)


def find_service(android: Android, service: str) -> Handler | None:
    """Return the handler of `service`; None if this phone does not have it, as for reverse: and tcp:."""
    name, _, argument = service.partition(":")
    kind, *options = name.split(",")
    if kind == "exec" and (streamed := streamed_install(argument)):
        return lambda stream: _install(android, *streamed, stream)
    if kind == "exec" or (kind == "shell" and "v2" not in options):
        return lambda stream: _shell(android, argument, stream)
    if kind == "shell":
        return lambda stream: _shell_v2(android, argument, stream)
    if service == "sync:":
        return lambda stream: serve_sync(stream, android.files)
    if service == "root:":
        return lambda stream: stream.write(b"adbd cannot run as root in production builds\n")
    if name == "reboot":
        return lambda stream: _reboot(android, stream)
    return None


def _run(android: Android, line: str) -> Result:
    if not line.strip():
        return failed("/system/bin/sh: no interactive shell: give a command")
    return run(android, line)


async def _shell(android: Android, line: str, stream: Stream) -> None:
    """Write both outputs as one, without exit status."""
    result = _run(android, line)
    await stream.write(b"".join(data for _, data in result.chunks))
    _drop_if_rebooting(android, stream)


async def _shell_v2(android: Android, line: str, stream: Stream) -> None:
    result = _run(android, line)
    packets = [struct.pack("<BI", descriptor, len(data)) + data for descriptor, data in result.chunks]
    await stream.write(b"".join(packets) + struct.pack("<BIB", _EXIT, 1, result.status))
    _drop_if_rebooting(android, stream)


async def _install(android: Android, arguments: list[str], size: int, stream: Stream) -> None:
    """Receive the `size` bytes that follow an installation's command line, then run it as pm."""
    data = bytearray()
    while len(data) < size:
        data += await stream.read()
    result = android.run(COMMANDS["pm"], arguments, bytes(data[:size]))
    await stream.write(b"".join(text for _, text in result.chunks))


async def _reboot(android: Android, stream: Stream) -> None:
    android.reboot()
    _drop_if_rebooting(android, stream)


def _drop_if_rebooting(android: Android, stream: Stream) -> None:
    if android.rebooting:
        android.rebooting = False
        stream.drop_connection()
