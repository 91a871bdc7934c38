"""The fleet: many phones at once, and the end of an episode whose phone fails."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest

from mobile_r1_jax.agent.actions import Click, Open
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.phones.adb.stream import ServerAddress
from mobile_r1_jax.phones.fleet import Fleet, InfrastructureFailure, LeasedPhone, Retries
from mobile_r1_jax.phones.phone import PhoneError, PhonesUnavailable
from mobile_r1_jax.phones.providers.simulated import SimulatedPhone, Simulator, connect
from mobile_r1_jax.phones.settings import INSTANT
from mobile_r1_jax.phones.simulator.android.daemon import ListeningPhone
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.tasks.task import Task

IMPATIENT = replace(INSTANT, limit=0.5)
FEW = Retries(calls=1, revivals=1, pause=0.01)
TAP = Click(Point(1, 1, Frame("device", 112, 224)))
PAY = Task("Shop", "Pay for the cart", {"template": "pay", "parameters": {}, "seed": 1})


def test_parallel_episodes_on_different_phones_are_independent(phones: tuple[SimulatedPhone, ...]) -> None:
    apps = ["Shop", "Clock", "Settings", "Messages"]

    async def episode(fleet: Fleet[SimulatedPhone], app: str) -> tuple[str, str]:
        async with fleet.lease() as phone:
            for _ in range(5):
                await phone.perform(Open(app))
                await phone.screenshot()
                page = (await phone.call(phone.phone.simulator, "state"))["page"]
                assert page == f"{app.lower()}/home"
            return phone.serial, page

    async def main() -> list[tuple[str, str]]:
        async with Fleet(phones) as fleet:
            return await asyncio.gather(*(episode(fleet, apps[i % 4]) for i in range(32)))

    episodes = asyncio.run(main())
    assert {page for _, page in episodes} == {"shop/home", "clock/home", "settings/home", "messages/home"}
    assert len({serial for serial, _ in episodes}) == len(phones)


def test_phone_is_leased_to_one_episode_at_a_time(phones: tuple[SimulatedPhone, ...]) -> None:
    holders: list[str] = []

    async def episode(fleet: Fleet[SimulatedPhone]) -> None:
        async with fleet.lease() as phone:
            assert phone.serial not in holders
            holders.append(phone.serial)
            await phone.screenshot()
            await asyncio.sleep(0.001)
            holders.remove(phone.serial)

    async def main() -> None:
        async with Fleet(phones[:2]) as fleet:
            await asyncio.gather(*(episode(fleet) for _ in range(10)))

    asyncio.run(main())


def test_failed_screenshot_is_repeated(recorded) -> None:
    phone, device = recorded
    device.failures = [RuntimeError("once")]

    async def main() -> None:
        async with Fleet([phone], FEW) as fleet, fleet.lease() as leased:
            assert (await leased.screenshot()).width == 112
            assert not leased.broken

    asyncio.run(main())


def test_tap_with_unknown_effect_is_not_repeated(recorded) -> None:
    phone, device = recorded
    device.failures = [RuntimeError("after the tap")]

    async def main() -> None:
        async with Fleet([phone], FEW) as fleet, fleet.lease() as leased:
            with pytest.raises(InfrastructureFailure, match="hung up"):
                await leased.perform(TAP)

    asyncio.run(main())
    assert device.gestures == [("tap", 1, 1)]


def test_phone_reconnects_after_a_loss_between_actions(recorded) -> None:
    phone, device = recorded
    phone.shell("reboot")  # closes the connection
    time.sleep(0.2)
    device.happened.clear()

    async def main() -> None:
        async with Fleet([phone], FEW) as fleet, fleet.lease() as leased:
            assert await leased.perform(TAP) == ""

    asyncio.run(main())
    assert device.gestures == [("tap", 1, 1)]


def test_lost_phone_ends_its_episode_and_no_other(phones: tuple[SimulatedPhone, ...], server: ServerAddress) -> None:
    async def episode(fleet: Fleet[SimulatedPhone], kill: Callable[[], None]) -> str:
        async with fleet.lease() as phone:
            await phone.reset(PAY)
            if phone.serial == doomed.serial:
                kill()
            try:
                for _ in range(5):
                    await phone.perform(Open("Shop"))
                    await phone.screenshot()
            except InfrastructureFailure as failure:
                assert phone.serial in str(failure) and "\n" not in str(failure)
                return "infrastructure failure"
            return "fine"

    async def main(kill: Callable[[], None]) -> list[str]:
        async with Fleet([doomed, *phones[:3]], FEW) as fleet:
            endings = await asyncio.gather(*(episode(fleet, kill) for _ in range(8)))
            await asyncio.sleep(1)
            assert fleet.size == 3
            return endings

    with closing(Simulator(1, (112, 224), 0)) as simulator:
        doomed = SimulatedPhone(connect(server, simulator.ports)[0], server, IMPATIENT)
        endings = asyncio.run(main(lambda: os.killpg(simulator.child.group, signal.SIGKILL)))
    assert sorted(endings) == ["fine"] * 7 + ["infrastructure failure"]


def test_frozen_phone_times_out_and_is_used_again_after_it_recovers(server: ServerAddress) -> None:
    async def main(group: int) -> None:
        async with Fleet([phone], Retries(calls=1, revivals=5, pause=0.05)) as fleet:
            async with fleet.lease() as leased:
                os.killpg(group, signal.SIGSTOP)
                started = time.monotonic()
                with pytest.raises(InfrastructureFailure):
                    await leased.screenshot()
                assert 0.5 < time.monotonic() - started < 5
            os.killpg(group, signal.SIGCONT)
            async with fleet.lease() as leased:
                assert (await leased.screenshot()).width == 112

    with closing(Simulator(1, (112, 224), 0)) as simulator:
        phone = SimulatedPhone(connect(server, simulator.ports)[0], server, IMPATIENT)
        asyncio.run(main(simulator.child.group))


def test_every_call_on_a_frozen_phone_times_out(server: ServerAddress) -> None:
    with closing(Simulator(1, (112, 224), 0)) as simulator:
        phone = SimulatedPhone(connect(server, simulator.ports)[0], server, IMPATIENT)
        os.killpg(simulator.child.group, signal.SIGSTOP)
        calls = (
            phone.screenshot,
            lambda: phone.perform(TAP),
            lambda: phone.reset(PAY),
            lambda: phone.size,
            phone.reconnect,
        )
        for call in calls:
            started = time.monotonic()
            with pytest.raises(PhoneError):
                call()
            assert time.monotonic() - started < 2.5
        os.killpg(simulator.child.group, signal.SIGCONT)


def test_waiting_episodes_get_an_error_if_no_phone_is_left(server: ServerAddress) -> None:
    async def main(kill: Callable[[], None]) -> None:
        async with Fleet([phone], FEW) as fleet:
            async with fleet.lease() as leased:
                kill()
                with pytest.raises(InfrastructureFailure):
                    await leased.screenshot()
            with pytest.raises(PhonesUnavailable, match="no phone is left"):
                async with asyncio.timeout(10), fleet.lease():
                    pass

    with closing(Simulator(1, (112, 224), 0)) as simulator:
        phone = SimulatedPhone(connect(server, simulator.ports)[0], server, IMPATIENT)
        asyncio.run(main(lambda: os.killpg(simulator.child.group, signal.SIGKILL)))


def test_cancelled_episode_releases_its_phone_after_its_last_call(
    put_on_wire: Callable[[Device], ListeningPhone], server: ServerAddress
) -> None:
    order: list[str] = []

    def slow_call() -> None:
        time.sleep(0.3)
        order.append("the call ended")

    async def cancelled(fleet: Fleet[SimulatedPhone]) -> None:
        async with fleet.lease() as leased:
            await leased.call(slow_call)

    async def main() -> None:
        async with Fleet([phone]) as fleet:
            episode = asyncio.create_task(cancelled(fleet))
            await asyncio.sleep(0.05)
            episode.cancel()
            async with fleet.lease() as leased:
                assert isinstance(leased, LeasedPhone)
                order.append("the next episode began")

    phone = SimulatedPhone(put_on_wire(Device()).android.serial, server)
    asyncio.run(main())
    assert order == ["the call ended", "the next episode began"]
