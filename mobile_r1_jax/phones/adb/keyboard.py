"""ADBKeyBoard, an input method that types any Unicode text. The user's own keyboard is restored at the release."""

from __future__ import annotations

import base64
import logging
import re
import time

from mobile_r1_jax.phones.adb.saved import SavedSettings
from mobile_r1_jax.phones.adb.shell import AdbShell
from mobile_r1_jax.phones.phone import PhoneError

ADB_KEYBOARD = "com.android.adbkeyboard/.AdbIME"
PACKAGE = ADB_KEYBOARD.split("/")[0]
INSTALL = "install https://github.com/senzhk/ADBKeyBoard on the phone"
_SELECTED = "settings get secure default_input_method"
_TRIES, _PAUSE = 4, 0.5  # seconds; right after its installation a keyboard is not known yet

log = logging.getLogger(__name__)


class AdbKeyboard:
    """The ADBKeyBoard of one phone. settle: seconds from its choice to its first key."""

    def __init__(self, shell: AdbShell, saved: SavedSettings | None, settle: float) -> None:
        self._shell, self._saved, self._settle = shell, saved, settle
        self._is_installed: bool | None = None

    @property
    def is_installed(self) -> bool:
        """Whether the phone has the keyboard, looked up once. Raises PhoneError."""
        return self.look_up() if self._is_installed is None else self._is_installed

    def look_up(self) -> bool:
        """Look up again whether the phone has the keyboard; log a warning if not. Raises PhoneError."""
        self._is_installed = ADB_KEYBOARD in self._shell.checked("ime list -a -s").split()
        if not self._is_installed:
            log.warning("phone %s cannot type text outside ASCII: %s", self._shell.serial, INSTALL)
        return self._is_installed

    def type(self, text: str, seconds: float) -> None:
        """Type any text; select the keyboard first unless it is selected. Raises PhoneError if that is impossible.

        seconds: added to the limit of the command.
        """
        encoded = base64.b64encode(text.encode(errors="replace")).decode()
        # Only the selected keyboard receives the broadcast, and the broadcast does not report a failure.
        line = f"{_SELECTED} && am broadcast -a ADB_INPUT_B64 --es msg {encoded} -p {PACKAGE}"
        if not self._shell.checked(line, seconds).startswith(ADB_KEYBOARD):
            self._select()
            if not self._shell.checked(line, seconds).startswith(ADB_KEYBOARD):
                raise PhoneError(self._shell.serial, "ime set", f"{ADB_KEYBOARD} cannot be selected as keyboard")

    def _select(self) -> None:
        if self._saved:
            self._saved.save_keyboard()
        for attempt in range(_TRIES):
            answer = self._shell.shell(f"ime enable {ADB_KEYBOARD} && ime set {ADB_KEYBOARD}")
            if not answer.failed:
                break
            if attempt == _TRIES - 1:
                raise PhoneError(self._shell.serial, "ime set", answer.words)
            time.sleep(_PAUSE)
        time.sleep(self._settle)
        for _ in range(_TRIES):  # the choice is reported at once, the binding follows
            dump = self._shell.shell("dumpsys input_method").stdout
            if not re.search(r"mHaveConnection=false|mBoundToMethod=false", dump):
                return
            time.sleep(_PAUSE)
