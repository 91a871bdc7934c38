import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from recording_device import SIZE, RecordingDevice
from scripted_android import Answer, ScriptedAndroid

from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.adb.server import AdbServer
from mobile_r1_jax.phones.adb.stream import ServerAddress
from mobile_r1_jax.phones.providers.simulated import INSTANT, SimulatedPhone, Simulator, connect
from mobile_r1_jax.phones.simulator.android.commands import COMMANDS, TOOLS
from mobile_r1_jax.phones.simulator.android.daemon import ListeningPhone, listen
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.device import Device


@pytest.fixture(scope="session")
def server() -> Iterator[ServerAddress]:
    with contextlib.closing(AdbServer()) as server:
        yield server.address


@pytest.fixture(scope="session")
def phones(server: ServerAddress) -> Iterator[tuple[SimulatedPhone, ...]]:
    """Eight phones in a child process."""
    with contextlib.closing(Simulator(8, SIZE, seed=0, server=server)) as simulator:
        yield tuple(SimulatedPhone(serial, server) for serial in connect(server, simulator.ports))


@pytest.fixture
def phone(phones: tuple[SimulatedPhone, ...]) -> SimulatedPhone:
    """Return one of the eight phones, at its home screen with the stock keyboard."""
    phones[0].shell("input keyevent WAKEUP HOME; ime set com.android.inputmethod.latin/.LatinIME")
    return phones[0]


@pytest.fixture(scope="session")
def put_on_wire(server: ServerAddress) -> Iterator[Callable[..., ListeningPhone]]:
    """Serve a device of this process over adb in a thread's event loop; `version` is its Android version."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def put(device: Device, version: int = 14) -> ListeningPhone:
        listening = asyncio.run_coroutine_threadsafe(listen(device, version=version), loop).result(5)
        connect(server, (listening.port,))
        return listening

    yield put
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    with contextlib.suppress(RuntimeError):
        loop.close()


@pytest.fixture
def android() -> Android:
    """Return the Android system of a phone without adb."""
    return Android(Device(size=SIZE, seed=0), "emulator-5554", COMMANDS, tools=TOOLS)


@pytest.fixture
def scripted(
    put_on_wire: Callable[[Device], ListeningPhone], server: ServerAddress
) -> Callable[..., tuple[AdbPhone, ScriptedAndroid]]:
    """Return a phone that answers some commands by a script: scripted({"pm list": "Error"}, timings=…)."""

    def make(answers: Mapping[str, Answer], device: Device | None = None, **options: Any) -> Any:
        listening = put_on_wire(device or RecordingDevice())
        options = {"timings": INSTANT} | options
        return AdbPhone(listening.android.serial, server, **options), ScriptedAndroid(listening.android, answers)

    return make


@pytest.fixture
def recorded(
    put_on_wire: Callable[..., ListeningPhone], server: ServerAddress
) -> tuple[SimulatedPhone, RecordingDevice]:
    """Return a phone and the recording device that serves it."""
    device = RecordingDevice()
    return SimulatedPhone(put_on_wire(device).android.serial, server, INSTANT), device
