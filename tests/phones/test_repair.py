"""Killed or frozen adb servers and simulators restart, and no episode continues on a restarted phone."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from real_processes import command, hit, members

from mobile_r1_jax.agent.actions import Open
from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.adb.server import AdbServer
from mobile_r1_jax.phones.fleet import Fleet, InfrastructureFailure, Retries
from mobile_r1_jax.phones.phone import PhoneError, PhonesUnavailable
from mobile_r1_jax.phones.providers.simulated import SimulatedPhone, SimulatedPhones, Simulator, connect
from mobile_r1_jax.phones.settings import INSTANT
from mobile_r1_jax.tasks.task import Task

SIZE = (112, 224)
BRISK = replace(INSTANT, limit=1.0)
RETRIES = Retries(calls=2, revivals=4, pause=0.05)
PAY = Task("Shop", "Pay for the cart", {"template": "pay", "parameters": {}, "seed": 1})


@pytest.fixture
def source() -> Iterator[SimulatedPhones]:
    with closing(SimulatedPhones(4, SIZE, 0, BRISK)) as source:
        yield source


async def play(fleet: Fleet[SimulatedPhone], steps: int, step_taken: Callable[[], None] = lambda: None) -> str:
    """Play an episode that opens the shop; the phone must keep that state."""
    async with fleet.lease() as phone:
        try:
            await phone.reset(PAY)
            await phone.perform(Open("Shop"))
            for _ in range(steps):
                await phone.screenshot()
                assert (await phone.call(phone.phone.simulator, "state"))["page"].startswith("shop/")
                assert "remaining" in await phone.call(phone.phone.simulator, "progress")
                step_taken()
                await asyncio.sleep(0.01)
        except InfrastructureFailure as failure:
            assert "\n" not in str(failure) and phone.serial.startswith("emulator-")
            return "lost"
        return "fine"


def run(source: SimulatedPhones, episodes: int, steps: int, at_step: int, blow: Callable[[], None]) -> list[str]:
    taken = 0

    def step_taken() -> None:
        nonlocal taken
        taken += 1
        if taken == at_step:
            blow()

    async def main() -> list[str]:
        async with asyncio.timeout(60), Fleet(source.phones, RETRIES) as fleet:
            playing = [asyncio.create_task(play(fleet, steps, step_taken)) for _ in range(episodes)]
            try:
                played = await asyncio.gather(*playing)
            finally:
                for episode in playing:
                    episode.cancel()
                await asyncio.gather(*playing, return_exceptions=True)
            assert fleet.size == len(source.phones)
            return played

    return asyncio.run(main())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
@pytest.mark.parametrize("which", ["adb", "simulator", "adb simulator"])
def test_children_killed_or_frozen_during_episodes_restart(
    source: SimulatedPhones, which: str, number: signal.Signals
) -> None:
    endings = run(source, 12, steps=4, at_step=8, blow=lambda: hit(which, source, number))
    lost = endings.count("lost")
    assert endings[-4:] == ["fine"] * 4
    assert lost <= 4  # those in flight
    if "simulator" in which:
        assert lost >= 1  # their state is lost


@pytest.mark.parametrize("which", ["adb", "simulator", "adb simulator"])
def test_children_killed_between_episodes_cost_no_episode(source: SimulatedPhones, which: str) -> None:
    assert run(source, 4, steps=1, at_step=0, blow=lambda: None) == ["fine"] * 4
    hit(which, source, signal.SIGKILL)
    assert run(source, 8, steps=1, at_step=0, blow=lambda: None) == ["fine"] * 8


@pytest.mark.parametrize("which", ["adb", "simulator", "adb simulator"])
def test_reset_interrupted_by_a_kill_is_repeated(source: SimulatedPhones, which: str) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), Fleet(source.phones, RETRIES) as fleet, fleet.lease() as phone:
            killing = threading.Timer(0.05, hit, (which, source, signal.SIGKILL))
            killing.start()
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                await phone.reset(PAY)
            killing.join()
            assert (await phone.call(phone.phone.simulator, "progress"))["remaining"] > 0

    asyncio.run(main())
    assert source.phones[0].generation == (which != "adb")


def test_run_survives_three_kills_in_a_row_and_one_during_a_restart(source: SimulatedPhones) -> None:
    old = command(source.simulator.service.child.group)
    for which in ("simulator", "adb", "simulator"):
        hit(which, source, signal.SIGKILL)
        for phone in source.phones:
            phone.reconnect()
            assert phone.screenshot().width == SIZE[0]
    hit("simulator", source, signal.SIGKILL)
    killing = threading.Timer(0.05, hit, ("adb", source, signal.SIGKILL))  # while the simulator starts
    killing.start()
    with pytest.raises(PhoneError, match=r"refused|reset|hung up"):
        source.phones[0].reconnect()
    source.phones[1].reconnect()
    assert [phone.generation for phone in source.phones] == [3] * 4
    assert command(source.simulator.service.child.group) != old


@pytest.mark.parametrize("which", ["adb", "simulator"])
def test_child_that_keeps_ending_is_a_one_line_error(source: SimulatedPhones, which: str) -> None:
    kept = source.adb if which == "adb" else source.simulator

    def keep_killing() -> None:
        while not stop.is_set():
            for pid in members(kept.service.child.group):
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)

    stop = threading.Event()
    killer = threading.Thread(target=keep_killing)
    try:
        with pytest.raises(PhonesUnavailable, match=r"ended 5 times within 60 s, the last time: .*killed by") as caught:
            run(source, 8, steps=50, at_step=4, blow=killer.start)
    finally:
        stop.set()
        killer.join()
    assert "\n" not in str(caught.value)


def test_waiting_episodes_get_an_error_if_a_child_cannot_be_kept_running(source: SimulatedPhones) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), Fleet(source.phones[:1], RETRIES) as fleet:
            async with fleet.lease() as leased:
                leased.broken = True
            with pytest.raises(PhonesUnavailable, match="closed"):
                async with fleet.lease():
                    pass

    source.close()  # nothing restarts after this
    asyncio.run(main())


def test_server_of_someone_else_is_never_restarted() -> None:
    with closing(AdbServer()) as server, closing(Simulator(1, SIZE, 0)) as simulator:
        phone = AdbPhone(connect(server.address, simulator.ports)[0], server.address, BRISK)
        os.kill(command(server.child.group), signal.SIGKILL)
        for call in (phone.screenshot, phone.reconnect, phone.screenshot):
            with pytest.raises(PhoneError, match=r"refused|reset|hung up"):
                call()
        assert not server.child.running and simulator.answers(1.0)


@pytest.mark.parametrize("which", ["", "adb", "simulator", "adb simulator"])
def test_closing_ends_frozen_children_within_seconds(source: SimulatedPhones, which: str) -> None:
    groups = [source.adb.service.child.group, source.simulator.service.child.group]
    hit(which, source, signal.SIGSTOP)
    started = time.monotonic()
    source.close()
    assert time.monotonic() - started < 5
    assert not any(map(members, groups))


def test_closing_ends_children_with_frozen_watchers(source: SimulatedPhones) -> None:
    groups = [source.adb.service.child.group, source.simulator.service.child.group]
    for group in groups:
        os.killpg(group, signal.SIGSTOP)
    started = time.monotonic()
    source.close()
    assert time.monotonic() - started < 5
    assert not any(map(members, groups))


def test_closing_during_a_repair_leaves_no_process(source: SimulatedPhones) -> None:
    groups = {source.adb.service.child.group, source.simulator.service.child.group}
    hit("adb simulator", source, signal.SIGKILL)
    failures: list[Exception] = []

    def reconnect() -> None:
        try:
            source.phones[0].reconnect()
        except (PhoneError, PhonesUnavailable) as error:
            failures.append(error)

    repairing = threading.Thread(target=reconnect)
    repairing.start()
    time.sleep(0.1)
    source.close()
    repairing.join(5)
    groups |= {source.adb.service.child.group, source.simulator.service.child.group}
    assert failures and not any(map(members, groups))
