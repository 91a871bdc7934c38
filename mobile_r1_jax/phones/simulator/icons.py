"""The icon set: each name in the apps has its own glyph, like icons on a real phone."""

import functools
import hashlib

SHAPES = ("disc", "square", "triangle", "diamond", "ring", "cross", "bars", "hourglass")
COLOURS = (
    (214, 48, 49),
    (9, 132, 227),
    (0, 148, 100),
    (232, 140, 0),
    (108, 60, 190),
    (30, 30, 36),
    (212, 60, 150),
    (110, 76, 40),
)
GROUNDS = ((255, 255, 255), (255, 224, 120), (170, 225, 255))
NAMES = (
    *(
        "About",
        "Add",
        "Airplane",
        "Allow",
        "Anna",
        "Bag",
        "Ball",
        "Battery",
        "Bluetooth",
        "Bob",
        "Book",
        "Call",
        "Camera",
    ),
    *(
        "Carl",
        "Cart",
        "Chair",
        "Chat",
        "Class",
        "Clear",
        "Clock",
        "Close",
        "Coat",
        "Cup",
        "Dark",
        "Delete",
        "Deny",
        "Desk",
    ),
    *("Display", "Done", "Dora", "Emil", "Empty", "End", "Fay", "Great", "Gus", "Gym", "Hat", "Hello", "Home", "Hugo"),
    *("Iris", "Item", "Jack", "Kate", "Keep", "Lamp", "Later", "Liam", "Location", "Look", "Lunch", "Maps", "Me"),
    *("Messages", "Milk", "Music", "Mute", "Nap", "New", "No", "Pay", "Pen", "Photos", "Pills", "Recents", "Results"),
    *("Rice", "Rotate", "Save", "Saved", "Saver", "Search", "Send", "Settings", "Share", "Shoes", "Shop", "Silence"),
    *("Skip", "Soap", "Soon", "Sorry", "Sound", "Start", "Stop", "Tea", "Thanks", "Timer", "Train", "Type", "Update"),
    *("Version", "Vibrate", "Wake", "Walk", "Watch", "Wifi", "World", "Write", "Yes"),
    *("Allow access?", "Big sale", "New version"),
)


@functools.lru_cache(maxsize=1024)
def glyph_of(name: str) -> tuple[str, tuple[int, int, int], tuple[int, int, int]]:
    """Return (shape, colour, ground) of a name, the same on every machine. Names outside NAMES share glyphs."""
    number = NAMES.index(name) if name in NAMES else hashlib.sha256(name.encode()).digest()[0]
    return SHAPES[number % 8], COLOURS[number // 8 % 8], GROUNDS[number // 64 % 3]
