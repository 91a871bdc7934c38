"""A text field with a cursor, and what the keys of a keyboard do to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from string import ascii_uppercase

_SHIFTED = {
    "GRAVE": "`~", "MINUS": "-_", "EQUALS": "=+", "LEFT_BRACKET": "[{", "RIGHT_BRACKET": "]}", "BACKSLASH": "\\|",
    "SEMICOLON": ";:", "APOSTROPHE": "'\"", "COMMA": ",<", "PERIOD": ".>", "SLASH": "/?", "SPACE": "  ", "AT": "@@",
    "STAR": "**", "POUND": "##", "PLUS": "++", "NUMPAD_DIVIDE": "//", "NUMPAD_MULTIPLY": "**", "NUMPAD_SUBTRACT": "--",
    "NUMPAD_ADD": "++", "NUMPAD_DOT": "..", "NUMPAD_COMMA": ",,", "NUMPAD_EQUALS": "==", "NUMPAD_LEFT_PAREN": "((",
    "NUMPAD_RIGHT_PAREN": "))",
}  # fmt: skip
CHARACTERS: dict[str, str] = (
    {letter: letter.lower() + letter for letter in ascii_uppercase}
    | {digit: digit + shifted for digit, shifted in zip("0123456789", ")!@#$%^&*(", strict=True)}
    | {f"NUMPAD_{digit}": digit * 2 for digit in "0123456789"}
    | _SHIFTED
)
"""Key -> its character without and with Shift, as on Android's generic keyboard."""


@dataclass(frozen=True)
class TextField:
    """Text with a cursor. The text between `anchor` and `cursor` is selected; both count characters."""

    text: str = ""
    anchor: int = 0
    cursor: int = 0

    @classmethod
    def at_end(cls, text: str) -> TextField:
        return cls(text, len(text), len(text))

    @property
    def selection(self) -> tuple[int, int]:
        """The first selected character and the first one after them; equal if nothing is selected."""
        return min(self.anchor, self.cursor), max(self.anchor, self.cursor)

    @property
    def selected(self) -> str:
        return self.text[slice(*self.selection)]

    def insert(self, text: str) -> TextField:
        """Return the field with the selection replaced by `text` and the cursor after it."""
        start, end = self.selection
        return TextField(self.text[:start] + text + self.text[end:], start + len(text), start + len(text))

    def move(self, cursor: int, *, select: bool = False) -> TextField:
        """Return the field with the cursor moved; `select` keeps the other end of the selection."""
        cursor = max(0, min(cursor, len(self.text)))
        return replace(self, anchor=self.anchor if select else cursor, cursor=cursor)

    def delete(self, step: int) -> TextField:
        """Return the field without the selection or else without the character before (-1) or after (1) the cursor."""
        return (self if self.selected else self.move(self.cursor + step, select=True)).insert("")

    def select_all(self) -> TextField:
        return TextField(self.text, 0, len(self.text))

    def press(self, key: str, *, shift: bool = False) -> TextField:
        """Return the field after a key; the same field if the key does not edit text."""
        start, end = self.selection
        if key in CHARACTERS:
            return self.insert(CHARACTERS[key][shift])
        if key in ("DEL", "FORWARD_DEL"):
            return self.delete(-1 if key == "DEL" else 1)
        if key in ("MOVE_HOME", "MOVE_END"):
            return self.move(0 if key == "MOVE_HOME" else len(self.text), select=shift)
        if key in ("DPAD_LEFT", "DPAD_RIGHT"):
            if self.selected and not shift:
                return self.move(start if key == "DPAD_LEFT" else end)
            return self.move(self.cursor + (1 if key == "DPAD_RIGHT" else -1), select=shift)
        return self
