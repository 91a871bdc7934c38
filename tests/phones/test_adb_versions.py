"""AdbPhone on simulated phones of every Android version, with the checks that real phones need."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from mobile_r1_jax.agent.actions import Click, Key, Open, SystemButton, Type
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.adb.stream import ServerAddress
from mobile_r1_jax.phones.fleet import Fleet
from mobile_r1_jax.phones.settings import INSTANT
from mobile_r1_jax.phones.simulator.android.daemon import ListeningPhone
from mobile_r1_jax.phones.simulator.android.system import SDK
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.tasks.task import Task

LOOKING = replace(INSTANT, front=2, typed=0.01)
TASK = Task("Messages", "Write to somebody")


@pytest.mark.parametrize("version", SDK)
def test_episode_succeeds_on_every_android_version(
    put_on_wire: Callable[[Device], ListeningPhone], server: ServerAddress, version: int, caplog
) -> None:
    listening = put_on_wire(device := Device(size=(112, 224)))
    listening.android.version = version
    phone = AdbPhone(listening.android.serial, server, LOOKING)
    before = {name: dict(table) for name, table in listening.android.settings.items()}

    async def episode(fleet: Fleet[AdbPhone]) -> None:
        async with fleet.lease() as leased:
            await leased.reset(TASK)
            home = await leased.screenshot()
            assert device.focus[0] == "com.sim.launcher"
            assert await leased.perform(Open("com.sim.shop")) == ""
            assert device.focus[0] == "com.sim.shop"
            assert (await leased.screenshot()).png != home.png
            field = next(element for element in device.elements() if element.kind == "field")
            assert await leased.perform(Click(Point(*field.center(device.size), Frame("device", *device.size)))) == ""
            for text in ("tea", " %s", "é你"):
                assert await leased.perform(Type(text)) == ""
            assert device.state()["text"] == "tea %sé你"
            assert await leased.perform(Key("DEL")) == ""
            assert device.state()["text"] == "tea %sé"
            assert "no app is called" in await leased.perform(Open("Nowhere"))
            assert "switch the phone off" in await leased.perform(Key("sleep"))
            device.key("SLEEP")
            assert (await leased.screenshot()).width == 112 and device.awake
            assert await leased.perform(SystemButton("Back")) == ""

    async def main() -> None:
        async with Fleet([phone]) as fleet:
            await episode(fleet)
            async with fleet.lease() as leased:
                await leased.reset(TASK)
                assert device.focus[0] == "com.sim.launcher"
        assert fleet.size == 1

    asyncio.run(main())
    assert {name: dict(table) for name, table in listening.android.settings.items()} == before
    assert not caplog.records
