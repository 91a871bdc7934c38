"""Screenshots of one phone. Damaged, blank and refused ones are recognised. The display that is on is captured.

Phones answer for a page with FLAG_SECURE with a black picture or with none, depending on the version. A phone that
sleeps, changes windows or boots gives black or white pictures as well.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from PIL import Image, ImageChops

from mobile_r1_jax.agent.screenshots import SIGNATURE, Screenshot
from mobile_r1_jax.phones.adb.shell import AdbShell
from mobile_r1_jax.phones.adb.windows import focused_window, is_awake
from mobile_r1_jax.phones.phone import PhoneError, SecurePage

_TRIES = 3
_STATUS_BAR, _NAVIGATION_BAR = 0.06, 0.07  # of the height; both stay visible above a secure page [ours]
_POLL = 0.25  # seconds between two pictures of a screen that may still move
_DARKEST = 16  # gray values below it are black


class PhoneScreen:
    """Takes the screenshots of a phone.

    wake: wakes and unlocks the phone. retake: seconds before a blank or refused picture is taken again.
    """

    def __init__(self, shell: AdbShell, wake: Callable[[], None], retake: float) -> None:
        self._shell, self._wake, self._retake = shell, wake, retake
        self._display = ""  # physical id, as text; "" while the phone has a single display

    def capture(self) -> Screenshot:
        """Return the current screen.

        Raises PhoneError if the PNG is truncated or corrupt, or stays blank while no app is in front. Raises SecurePage
        if an app is in front and the picture stays black or is refused.
        """
        for attempt in range(_TRIES):
            screenshot, words = self._take()
            if screenshot is not None and (shade := blank_shade(screenshot)) is None:
                return screenshot
            if attempt == 0:
                self._find_display()
            if attempt < _TRIES - 1:
                self._wake()  # each time: it may fall asleep again
                time.sleep(self._retake)
        if not is_awake(self._shell):
            raise PhoneError(self._shell.serial, self._command, "a black picture: it falls asleep again and again")
        window = focused_window(self._shell)
        if window is None or not window.package:
            what = f"no picture: {words!r}" if screenshot is None else f"a blank picture of shade {shade}"
            where = "no window" if window is None else repr(window.title)
            raise PhoneError(self._shell.serial, self._command, f"{what}, and {where} in front")
        if screenshot is None or shade < _DARKEST:
            raise SecurePage(self._shell.serial, window.title)
        return screenshot  # a page that is white, or of another single colour

    def wait_until_still(self, seconds: float) -> None:
        """Wait until two screenshots in a row are equal below the status bar, at most `seconds`; 0: do not look."""
        deadline, before = time.monotonic() + seconds, None
        while time.monotonic() < deadline:
            try:
                screenshot, _ = self._take()
            except PhoneError:
                return  # the next screenshot decides; the action before was delivered
            if screenshot is None:
                return
            image = _below_status_bar(screenshot)
            if before is not None and image.size == before.size and not ImageChops.difference(image, before).getbbox():
                return
            before = image
            time.sleep(_POLL)

    @property
    def _command(self) -> str:
        return f"exec:screencap -p -d {self._display}" if self._display else "exec:screencap -p"

    def _take(self) -> tuple[Screenshot | None, str]:
        """Return the picture, or None and what the phone printed instead."""
        data = self._shell.service(self._command)
        at = data.find(SIGNATURE)
        # Before the picture, phones with several displays print a warning, and graphics drivers print lines.
        if b"isplays were found" in data[: max(at, 0)] and not self._display and self._find_display():
            data = self._shell.service(self._command)
            at = data.find(SIGNATURE)
        if at < 0 and b"PNG" not in data:
            return None, data[:200].decode(errors="replace").strip()
        try:
            screenshot = Screenshot(data[max(at, 0) :])
            screenshot.verify()
        except ValueError as error:
            raise PhoneError(self._shell.serial, self._command, str(error)) from error
        return screenshot, ""

    def _find_display(self) -> bool:
        """Choose the display that is on, of several. Return whether there are several."""
        listed = self._shell.shell("dumpsys SurfaceFlinger --display-id").stdout
        known = re.findall(r"^Display (\d+) \(HWC", listed, re.M)
        if len(known) < 2:
            self._display = ""
            return False
        viewports = re.findall(r"DisplayViewport\{([^}]*)\}", self._shell.shell("dumpsys display").stdout)
        shown = [
            match[1]
            for viewport in viewports
            if "isActive=true" in viewport and (match := re.search(r"uniqueId='local:(\d+)'", viewport))
        ]
        self._display = next((display for display in shown if display in known), known[0])
        return True


def blank_shade(screenshot: Screenshot) -> int | None:
    """Return the gray value, 0 to 255, of a picture that has one colour between its bars, else None."""
    pixels = screenshot.width * screenshot.height
    if len(screenshot.png) > pixels // 48 + 1024:  # a picture of one colour is smaller; only small ones are decoded
        return None
    height = screenshot.height
    middle = (0, round(_STATUS_BAR * height), screenshot.width, round((1 - _NAVIGATION_BAR) * height))
    extrema = screenshot.image().crop(middle).getextrema()
    if any(low != high for low, high in extrema):
        return None
    return sum(low for low, _ in extrema) // 3


def _below_status_bar(screenshot: Screenshot) -> Image.Image:
    return screenshot.image().crop((0, round(_STATUS_BAR * screenshot.height), screenshot.width, screenshot.height))
