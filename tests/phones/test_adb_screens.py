"""Captures that do not show the screen: secure pages, sleep, boots, several displays."""

import io
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from PIL import Image

from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.phones.adb.screen import blank_shade
from mobile_r1_jax.phones.phone import PhoneError, SecurePage
from mobile_r1_jax.phones.settings import INSTANT
from mobile_r1_jax.phones.simulator.android.shell import Result, failed
from mobile_r1_jax.phones.simulator.device import Device

BANK = "com.acme.bank/com.acme.bank.Login"
IN_FRONT = "  mCurrentFocus=Window{5e9b13b u0 %s}\n"


def png(colour: object, *, bar: bool = False, size: tuple[int, int] = (112, 224)) -> bytes:
    """Return an image of one colour, with a clock in its status bar."""
    image = Image.new("RGB", size, colour)
    if bar:
        image.paste("white", (5, 2, 30, 8))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def good() -> bytes:
    return Device(size=(112, 224)).screenshot()


def raw(data: bytes) -> Result:
    return Result(((1, data),))


SECURE = {
    "black": raw(png("black")),
    "black below a status bar": raw(png("black", bar=True)),
    "black with transparency": raw(png((0, 0, 0))),
    "empty": raw(b""),
    "refused": failed("Failed to take screenshot. Status: -1"),
    "refused in other words": failed("Capturing failed."),
}


@pytest.mark.parametrize("answer", SECURE.values(), ids=SECURE)
def test_secure_page_is_distinguished_from_a_broken_phone(scripted, answer: Result) -> None:
    phone, android = scripted({"screencap": answer, "dumpsys window": IN_FRONT % BANK})
    with pytest.raises(SecurePage, match="Login forbids screenshots") as caught:
        phone.screenshot()
    assert caught.value.page == BANK and phone.serial in str(caught.value)
    assert len(android.ran("screencap")) == 3
    android.answers["screencap"] = raw(good())
    assert phone.screenshot().png == good()


@pytest.mark.parametrize("first", [png("black"), png("white"), b"", b"screencap: not ready\n"])
def test_blank_or_missing_image_is_captured_again(scripted, first: bytes) -> None:
    pictures = iter([first, good()])
    phone, _ = scripted({"screencap": lambda line: raw(next(pictures))})
    assert phone.screenshot().png == good()


def test_sleeping_phone_is_woken_and_not_taken_for_a_secure_page(scripted) -> None:
    awake = [False]

    def wake(line: str) -> None:
        awake[0] |= "WAKEUP" in line

    phone, _ = scripted(
        {
            "input keyevent": wake,
            "screencap": lambda line: raw(good() if awake[0] else png("black")),
            "dumpsys power": lambda line: f"mWakefulness={'Awake' if awake[0] else 'Asleep'}\n",
            "dumpsys window": IN_FRONT % BANK,
        }
    )
    assert phone.screenshot().png == good()


@pytest.mark.parametrize("picture", [png("white"), png("black"), b"", b"screencap: permission denied\n"])
@pytest.mark.parametrize("window", ["  mCurrentFocus=null\n", "", IN_FRONT % "NotificationShade"])
def test_blank_image_without_a_foreground_app_is_an_infrastructure_failure(
    scripted, picture: bytes, window: str
) -> None:
    phone, _ = scripted({"screencap": raw(picture), "dumpsys window": window})
    with pytest.raises(PhoneError, match="picture"):
        phone.screenshot()


@pytest.mark.parametrize("colour", ["white", "teal", (250, 250, 250)])
def test_page_of_one_light_colour_is_valid(scripted, colour: object) -> None:
    phone, _ = scripted({"screencap": raw(png(colour)), "dumpsys window": IN_FRONT % "com.acme.notes/.Main"})
    assert phone.screenshot().png == png(colour)


@pytest.mark.parametrize("size", [(112, 224), (720, 1280), (1080, 2400), (1440, 3200)])
def test_black_and_white_are_recognised_at_every_size_without_decoding_other_pages(size: tuple[int, int]) -> None:
    assert blank_shade(Screenshot(png("black", bar=True, size=size))) == 0
    assert blank_shade(Screenshot(png("white", size=size))) == 255
    assert blank_shade(Screenshot(Device(size=size).screenshot())) is None
    dotted = Image.new("RGB", size)
    dotted.putpixel((size[0] // 2, size[1] // 2), (255, 255, 255))
    out = io.BytesIO()
    dotted.save(out, "PNG")
    assert blank_shade(Screenshot(out.getvalue())) is None


WARNINGS = {
    "11": b"[Warning] Multiple displays were found, but no display id was specified! Defaulting to the first display "
    b"found, however this default is not guaranteed to be consistent across captures. A display id should be "
    b'specified.\nSee "dumpsys SurfaceFlinger --display-id" for valid display IDs.\n',
    "14": b"[Warning] Multiple displays were found, but no display id was specified! Defaulting to the first display "
    b"found, however this default is not guaranteed to be consistent across captures. A display ID can be specified "
    b"with the [-d display-id] option.\n",
}
DISPLAYS = """Display 4619827259835644672 (HWC display 0): port=0 pnpId=GGL displayName="inner"
Display 4619827259835644673 (HWC display 1): port=1 pnpId=GGL displayName="outer"
Display 11529215046613627067 (Virtual display): displayName="recorder"
"""
VIEWPORT = "DisplayViewport{type=INTERNAL, valid=true, isActive=%s, displayId=%d, uniqueId='local:%s', orientation=0}"


def viewports(active: str) -> str:
    ids = ["4619827259835644672", "4619827259835644673"]
    return "mViewports=[" + ", ".join(VIEWPORT % (str(k == active).lower(), n, k) for n, k in enumerate(ids)) + "]\n"


@pytest.mark.parametrize("warning", WARNINGS.values(), ids=WARNINGS)
@pytest.mark.parametrize("active", ["4619827259835644672", "4619827259835644673"])
def test_capture_uses_the_display_that_is_on(scripted, warning: bytes, active: str) -> None:
    phone, android = scripted(
        {
            "screencap -p": raw(warning + png("teal")),
            f"screencap -p -d {active}": raw(good()),
            "dumpsys SurfaceFlinger --display-id": DISPLAYS,
            "dumpsys display": viewports(active),
        }
    )
    assert phone.screenshot().png == phone.screenshot().png == good()
    assert android.ran("screencap") == ["screencap -p", *[f"screencap -p -d {active}"] * 2]


def test_capture_follows_the_active_display_of_a_foldable(scripted) -> None:
    inner, outer = "4619827259835644672", "4619827259835644673"
    phone, android = scripted(
        {
            "screencap -p": raw(WARNINGS["14"] + png("teal")),
            f"screencap -p -d {inner}": raw(good()),
            "dumpsys SurfaceFlinger --display-id": DISPLAYS,
            "dumpsys display": viewports(inner),
        }
    )
    assert phone.screenshot().png == good()
    android.answers |= {
        f"screencap -p -d {inner}": failed("Failed to take screenshot. Status: -2"),
        f"screencap -p -d {outer}": raw(good()),
        "dumpsys display": viewports(outer),
    }
    assert phone.screenshot().png == good()


@pytest.mark.parametrize("pause", [0.2, 0.4])
def test_pause_before_a_repeated_capture_is_configurable(scripted, pause: float) -> None:
    pictures = iter([png("black"), good()])
    take: Callable[[str], Result] = lambda line: raw(next(pictures))  # noqa: E731
    phone, _ = scripted({"screencap": take}, timings=replace(INSTANT, retake=pause))
    started = time.monotonic()
    phone.screenshot()
    assert pause <= time.monotonic() - started < pause + 1
