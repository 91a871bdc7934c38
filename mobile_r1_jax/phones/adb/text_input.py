"""Typing of text: by `input text` where that is exact, else by the ADB keyboard; the field is checked before and after.

`input text` reads %s as a blank and fails for text outside ASCII.
"""

from __future__ import annotations

import re
import shlex
import time

from mobile_r1_jax.phones.adb.keyboard import INSTALL, AdbKeyboard
from mobile_r1_jax.phones.adb.shell import AdbShell
from mobile_r1_jax.phones.adb.tree import read_tree
from mobile_r1_jax.phones.adb.windows import has_text_field
from mobile_r1_jax.phones.settings import Timings

LONGEST_TEXT = 5_000  # characters; the limit of adb is near 60,000 bytes [ours]
_LONGEST_PIECE = 60  # characters of one `input text`; longer ones have arrived out of order on real phones [ours]
_KEYS = {"\n": "KEYCODE_ENTER", "\t": "KEYCODE_TAB"}


class TextInput:
    """Types text on a phone."""

    def __init__(self, shell: AdbShell, keyboard: AdbKeyboard, timings: Timings) -> None:
        self._shell, self._keyboard, self._timings = shell, keyboard, timings

    def type(self, text: str) -> str:
        """Type text into the focused field. Return "" or why it did not arrive. Raises PhoneError.

        With `timings.typed`, look first whether a field has the focus, and afterwards at its text.
        """
        if not text:
            return "nothing to type"
        if len(text) > LONGEST_TEXT:
            return f"the text has {len(text)} characters; {LONGEST_TEXT} can be typed at once"
        is_plain = bool(re.fullmatch(r"[ -~\n\t]+", text))
        if not is_plain and not self._keyboard.is_installed:
            return f"this phone types ASCII alone; for other text, {INSTALL}"
        if self._timings.typed and not has_text_field(self._shell):
            return "no text field has the focus; tap one first"
        seconds = self._timings.per_character * len(text)
        if is_plain:
            self._shell.checked(" && ".join(map(_command, _pieces(text))), seconds)
        else:
            self._keyboard.type(text, seconds)
        # Enter and Tab may send or leave the field.
        return self._compare(text) if self._timings.typed and not set(_KEYS) & set(text) else ""

    def _compare(self, text: str) -> str:
        """Return "" or what the field shows instead of the text. Fields that the phone does not report count as right.

        Only letters and digits are compared: fields add blanks, dashes and capitals.
        """
        time.sleep(self._timings.typed)
        shown = next((node.field_text for node in read_tree(self._shell) if node.field_text is not None), None)
        if shown is None or _letters(text) in _letters(shown):
            return ""
        return f"the field shows {_shortened(shown)!r}, not the typed text"


def _pieces(text: str) -> list[str]:
    """Return the keys and the texts of one `input text` each, which make up a text of ASCII."""
    pieces = []
    for part in re.split(r"([\n\t])", text):
        if part in _KEYS:
            pieces.append(part)
            continue
        for word in re.split(r"(?<=%)(?=s)", part):  # a literal %s would become a blank
            pieces += re.findall(rf".{{1,{_LONGEST_PIECE}}}(?![^ ])|.{{1,{_LONGEST_PIECE}}}", word)
    return pieces


def _command(piece: str) -> str:
    if piece in _KEYS:
        return f"input keyevent {_KEYS[piece]}"
    return f"input text {shlex.quote(piece.replace(' ', '%s'))}"


def _letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
