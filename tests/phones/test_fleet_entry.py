"""A fleet checks and prepares its phones, survives secure pages, and restores the settings of its phones."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mobile_r1_jax.agent.actions import Click, Type
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.adb.readiness import FLEET_SETTINGS
from mobile_r1_jax.phones.fleet import Fleet, InfrastructureFailure, Retries
from mobile_r1_jax.phones.phone import PhonesUnavailable, SecurePage
from mobile_r1_jax.phones.settings import INSTANT
from mobile_r1_jax.phones.simulator.android.shell import Result, failed
from mobile_r1_jax.tasks.task import Task

FEW = Retries(calls=1, revivals=2, pause=0.01)
ONE_TRY = Retries(calls=0, revivals=0, pause=0)
TASK = Task("Notes", "Write a note")
TAP = Click(Point(1, 1, Frame("device", 112, 224)))
STOCK = "com.android.inputmethod.latin/.LatinIME"
LOCKED = "    isKeyguardShowing=true\n"


def values(phone: AdbPhone) -> dict[str, str]:
    names = [*FLEET_SETTINGS, "secure default_input_method"]
    return {name: phone.shell(f"settings get {name}").stdout.strip() for name in names}


def enter(phones: list[AdbPhone], *, crash: bool = False) -> list[dict[str, str]]:
    """Return the settings inside a fleet, after an episode that types, and after the fleet."""

    async def main() -> dict[str, str]:
        fleet = Fleet(phones, FEW)
        await fleet.__aenter__()
        async with fleet.lease() as leased:
            await leased.reset(TASK)
            await leased.perform(Type("é"))
            inside = values(phones[0])
        if not crash:
            await fleet.__aexit__()
        return inside

    return [asyncio.run(main()), values(phones[0])]


def test_phone_stays_awake_and_upright_in_a_fleet_and_its_settings_are_restored(scripted, tmp_path: Path) -> None:
    phone, _ = scripted({}, state=tmp_path)
    phone.shell("settings put system accelerometer_rotation 1; settings put system screen_off_timeout 15000")
    phone.shell("settings delete global stay_on_while_plugged_in")
    before = values(phone)
    inside, after = enter([phone])
    assert {name: inside[name] for name in FLEET_SETTINGS} == FLEET_SETTINGS
    assert after == before and before["global stay_on_while_plugged_in"] == "null"
    assert not list(tmp_path.iterdir())


def test_next_fleet_restores_settings_after_a_crash(scripted, tmp_path: Path) -> None:
    phone, _ = scripted({}, state=tmp_path)
    before = values(phone)
    _, after = enter([phone], crash=True)
    assert after != before and json.loads(next(tmp_path.iterdir()).read_text())
    _, after = enter([AdbPhone(phone.serial, phone.server, INSTANT, tmp_path)])
    assert after == before


def test_refused_settings_are_reported_and_the_phone_is_used(scripted, tmp_path: Path, caplog) -> None:
    refusal = failed("\nException occurred while executing 'put':\njava.lang.SecurityException: WRITE_SECURE", 255)
    phone, _ = scripted({"settings put": refusal}, state=tmp_path)
    enter([phone])
    assert "settings put global stay_on_while_plugged_in 7: java.lang.SecurityException" in caplog.text


def test_keyboard_is_restored_at_the_end_of_the_lease(scripted, tmp_path: Path) -> None:
    phone, _ = scripted({}, state=tmp_path)

    async def main() -> None:
        async with Fleet([phone], FEW) as fleet:
            for _ in range(2):
                async with fleet.lease() as leased:
                    await leased.perform(Type("é"))
            async with fleet.lease():
                assert phone.shell("settings get secure default_input_method").stdout.strip() == STOCK

    asyncio.run(main())


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ({"dumpsys window": LOCKED}, "it is locked; unlock it"),
        ({"screencap": "screencap: permission denied\n"}, "no picture of its home screen"),
        ({"input keyevent": failed("java.lang.SecurityException: needs INJECT_EVENTS", 255)}, "INJECT_EVENTS"),
        ({"ime list": failed("cmd: Can't find service: input_method", 20)}, "input_method"),
    ],
)
def test_unusable_phone_is_left_out_and_reported(scripted, trouble, reason: str, caplog) -> None:
    unusable, _ = scripted(trouble)
    good, _ = scripted({})

    async def main() -> None:
        async with Fleet([unusable, good], ONE_TRY) as fleet:
            assert fleet.size == 1
            for _ in range(3):
                async with fleet.lease() as leased:
                    assert leased.serial == good.serial

    asyncio.run(main())
    assert caplog.text.count("it is left out") == 1 and reason in caplog.text


def test_fleet_without_usable_phones_is_a_one_line_error_with_the_reasons(scripted) -> None:
    unusable, _ = scripted({"screencap": ""})

    async def main() -> None:
        async with Fleet([unusable], ONE_TRY):
            pass

    with pytest.raises(PhonesUnavailable, match=r"no phone can be used: .*no picture of its home") as caught:
        asyncio.run(main())
    assert "\n" not in str(caught.value)


LOGIN = "  mCurrentFocus=Window{1 u0 com.acme.bank/com.acme.bank.Login}\n"


class Bank:
    """Return a phone whose app shows a secure page from the tap that opens it until Home is pressed."""

    def __init__(self, scripted) -> None:
        self.is_open, self.is_tap_lost = False, False
        self.phone, self.android = scripted(
            {
                "input tap": self._tap,
                "input keyevent 3": self._home,
                "screencap": lambda line: Result(((1, b""),)) if self.is_open else None,
                "dumpsys window": lambda line: LOGIN if self.is_open else None,
            }
        )

    def _tap(self, line: str) -> Result | None:
        self.is_open = True
        return failed("Killed", 137) if self.is_tap_lost else None

    def _home(self, line: str) -> None:
        self.is_open = False


def test_secure_page_ends_the_episode_and_the_phone_stays_in_use(scripted) -> None:
    bank = Bank(scripted)

    async def main() -> None:
        async with Fleet([bank.phone], FEW) as fleet:
            for _ in range(3):
                async with fleet.lease() as leased:
                    await leased.reset(TASK)
                    assert (await leased.screenshot()).width == 112
                    await leased.perform(TAP)
                    with pytest.raises(SecurePage, match="Login forbids screenshots"):
                        await leased.screenshot()
                    assert not leased.broken
            assert fleet.size == 1

    asyncio.run(main())


def test_phone_that_fails_on_a_secure_page_recovers_at_its_home_screen(scripted) -> None:
    bank = Bank(scripted)
    bank.is_tap_lost = True

    async def main() -> None:
        async with Fleet([bank.phone], FEW) as fleet:
            async with fleet.lease() as leased:
                with pytest.raises(InfrastructureFailure, match="Killed") as caught:
                    await leased.perform(TAP)
                assert caught.value.reason == "exit status 137: Killed"
                assert any("input tap 1 1" in exchange for exchange in caught.value.transcript)
            assert bank.is_open
            async with asyncio.timeout(10), fleet.lease() as leased:
                assert (await leased.screenshot()).width == 112

    asyncio.run(main())


def test_start_page_without_an_image_is_an_infrastructure_failure(scripted) -> None:
    bank = Bank(scripted)

    async def main() -> None:
        async with Fleet([bank.phone], FEW) as fleet, fleet.lease() as leased:
            await leased.reset(TASK)
            bank.is_open = True
            with pytest.raises(InfrastructureFailure, match="forbids screenshots"):
                await leased.screenshot()
            assert leased.broken

    asyncio.run(main())


def test_log_of_exchanges_is_bounded_and_counts_repetitions(scripted) -> None:
    phone, _ = scripted({}, timings=replace(INSTANT, limit=5))
    for number in range(100):
        phone.shell(f"echo {number} " + "x" * 1000)
    for _ in range(50):
        phone.shell("echo again")
    record = phone.transcript()
    assert len(record) == 30 and record[-1] == "echo again -> status 0: again (50 times)"
    assert record[-2].startswith("echo 99 xxx") and all(len(line) < 450 for line in record)
