"""Two simulated phones and an adb server, for clients that this project does not use itself.

Each test imports its client inside, so that the fast tests can be collected without the clients. They are installed by
`pip install -e ".[clients]"` and by `npm install` in this folder.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from served_phones import SIZE, Served

from mobile_r1_jax.phones.adb.server import AdbServer
from mobile_r1_jax.phones.providers.simulated import SimulatedPhone, Simulator, connect


@pytest.fixture
def served() -> Iterator[Served]:
    with ExitStack() as stack:
        server = stack.enter_context(closing(AdbServer()))
        simulator = stack.enter_context(closing(Simulator(2, SIZE, 0, server.address)))
        serials = connect(server.address, simulator.ports)
        phones = tuple(SimulatedPhone(serial, server.address) for serial in serials)
        yield Served(server.address, simulator.ports, serials, phones)


@pytest.fixture
def chat(served: Served) -> str:
    """The first phone shows a chat; return the serial."""
    setup = {"template": "send", "parameters": {"name": "Bob", "word": "Hello"}, "seed": 0}
    phone = served.phones[0]
    phone.simulator("reset", setup)
    phone.shell("am start -n com.sim.messages/.HomeActivity")
    rows = phone.simulator("state")["messages"]["chats"]
    phone.shell(f"input tap 540 {150 + 300 * (1 + rows.index('Bob'))}")
    assert phone.simulator("state")["page"] == "messages/chat/Bob"
    return phone.serial


@pytest.fixture
def sent(served: Served) -> Callable[[], list[str]]:
    """Return a function that lists the messages that the chat has sent."""
    return lambda: served.phones[0].simulator("state")["messages"]["sent"].get("Bob", [])
