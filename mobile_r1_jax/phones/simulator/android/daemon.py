"""The adb daemon of the simulated phones: one port per phone, which real adb servers connect to."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field

from mobile_r1_jax.phones.simulator.android.announcing import Connections, keep_announced
from mobile_r1_jax.phones.simulator.android.commands import COMMANDS, TOOLS
from mobile_r1_jax.phones.simulator.android.shell_service import serve_shell
from mobile_r1_jax.phones.simulator.android.sync import serve_sync
from mobile_r1_jax.phones.simulator.android.system import PROPERTIES, Android, Device
from mobile_r1_jax.phones.simulator.android.trouble import TroubledConnection
from mobile_r1_jax.phones.simulator.android.wire import Connection, Handler, Stream

FEATURES = "shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir"
_REBOOT_DELAY = 0.05  # seconds, in which the command that reboots is answered
_NAMED = ("ro.product.name", "ro.product.model", "ro.product.device")
BANNER = f"device::{''.join(f'{name}={PROPERTIES[name]};' for name in _NAMED)}features={FEATURES}".encode()


@dataclass
class ListeningPhone:
    """A simulated phone that listens on `host` and `port`."""

    android: Android
    host: str
    port: int
    server: asyncio.Server
    connections: Connections = field(default_factory=Connections)
    announcing: asyncio.Task[None] | None = None


async def listen(
    device: Device,
    host: str = "127.0.0.1",
    port: int = 0,
    version: int = 14,
    adb_server: tuple[str, int] | None = None,
) -> ListeningPhone:
    """Serve `device` on a port as long as the event loop runs; `port` 0 takes a free port.

    `version` is the Android version, one of `system.SDK`. The phone announces itself to `adb_server`, if there is one.
    Raises OSError if the port cannot be opened.
    """
    phone: ListeningPhone

    def connect() -> Connection:
        android = phone.android
        return TroubledConnection(BANNER, lambda service: find_service(phone, service), phone.connections, android)

    listener = socket.create_server((host, port))  # asyncio ignores the error when no descriptor is free
    port = listener.getsockname()[1]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(connect, sock=listener)
    # adb gives a phone that is announced as an emulator the serial emulator-(port - 1).
    phone = ListeningPhone(Android(device, f"emulator-{port - 1}", COMMANDS, version, TOOLS), host, port, server)
    phone.android.on_reboot = lambda: loop.call_later(_REBOOT_DELAY, phone.connections.drop)
    if adb_server is not None:
        running = keep_announced(port, adb_server, phone.connections)
        phone.announcing = loop.create_task(running)
    return phone


def find_service(phone: ListeningPhone, service: str) -> Handler | None:
    """Return the handler of `service`; None if this phone does not have it, as for reverse: and tcp:."""
    name, _, argument = service.partition(":")
    kind, *options = name.split(",")
    if kind in ("exec", "shell"):
        # As in adbd: an interactive shell has a terminal, a command has none, unless the client asks otherwise.
        terminal = kind == "shell" and ("pty" in options or (not argument and "raw" not in options))
        packets = "v2" in options
        return lambda stream: serve_shell(phone.android, stream, argument, packets=packets, terminal=terminal)
    if service == "sync:":
        return lambda stream: serve_sync(stream, phone.android.files.at("/"))
    if service == "root:":
        return lambda stream: stream.write(b"adbd cannot run as root in production builds\n")
    if service == "reconnect":
        return _reconnect
    if name == "reboot":
        return lambda stream: _reboot(phone, stream)
    return None


async def _reconnect(stream: Stream) -> None:
    await stream.write(b"done")
    stream.drop_connection()


async def _reboot(phone: ListeningPhone, stream: Stream) -> None:
    phone.android.reboot()
