"""Android's codes of the keys that a simulated phone acts on."""

from string import ascii_uppercase, digits

_RUNS = {  # first code -> the keys that follow each other from there
    3: "HOME BACK",
    7: " ".join(digits) + " STAR POUND",
    21: "DPAD_LEFT DPAD_RIGHT DPAD_CENTER VOLUME_UP VOLUME_DOWN POWER",
    29: " ".join(ascii_uppercase) + " COMMA PERIOD ALT_LEFT ALT_RIGHT SHIFT_LEFT SHIFT_RIGHT TAB SPACE",
    66: "ENTER DEL GRAVE MINUS EQUALS LEFT_BRACKET RIGHT_BRACKET BACKSLASH SEMICOLON APOSTROPHE SLASH AT",
    81: "PLUS MENU",
    112: "FORWARD_DEL CTRL_LEFT CTRL_RIGHT",
    122: "MOVE_HOME MOVE_END",
    144: " ".join(f"NUMPAD_{digit}" for digit in digits) + " NUMPAD_DIVIDE NUMPAD_MULTIPLY NUMPAD_SUBTRACT NUMPAD_ADD "
    "NUMPAD_DOT NUMPAD_COMMA NUMPAD_ENTER NUMPAD_EQUALS NUMPAD_LEFT_PAREN NUMPAD_RIGHT_PAREN",
    187: "APP_SWITCH",
    223: "SLEEP WAKEUP",
    277: "CUT COPY PASTE",
}
NAMES = {first + k: name for first, names in _RUNS.items() for k, name in enumerate(names.split())}
"""Code -> name without KEYCODE_."""


def key_name(word: str) -> str:
    """Return the name, without KEYCODE_, of a key's code or name. Android sends an unknown key, which does nothing.

    A number is a code: 7 is the key 0, and KEYCODE_7 is the key 7. Names are in capital letters.
    """
    if word.isascii() and word.isdigit():
        return NAMES.get(int(word), "UNKNOWN")
    return "UNKNOWN" if "+" in word else word.removeprefix("KEYCODE_")
