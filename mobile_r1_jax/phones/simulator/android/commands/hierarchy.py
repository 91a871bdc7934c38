"""The command uiautomator: the tree of the screen as XML."""

import re
from typing import Any
from xml.sax.saxutils import quoteattr

from mobile_r1_jax.phones.simulator.android.files import FileError
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android

_DEFAULT_FILE = "/sdcard/window_dump.xml"
_CLASSES = {
    "button": "android.widget.Button",
    "field": "android.widget.EditText",
    "line": "android.widget.TextView",
    "switch": "android.widget.Switch",
    "tile": "android.widget.ImageView",
    "title": "android.widget.TextView",
}
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def uiautomator(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`uiautomator dump [--compressed] [FILE]`. As on Android, a file that cannot be written is not an error."""
    if arguments[:1] != ["dump"]:
        return failed("Usage: uiautomator <subcommand> [options]\n\nAvailable subcommands:\n\nhelp\ndump")
    path = next((word for word in arguments[1:] if not word.startswith("-")), _DEFAULT_FILE)
    if not android.awake:
        return failed("ERROR: null root node returned by UiTestAutomationBridge.", 0)
    if android.device.loading:  # it moves all the time
        android.device.look()
        return failed("ERROR: could not get idle state.", 0)
    xml = tree(android).encode()
    message = f"UI hierchary dumped to: {path}\n"  # the misspelling is Android's
    if path == "/dev/tty":
        return printed(xml + message.encode())
    try:
        android.files.write(path, xml)
    except FileError as error:
        android.log.write("uiautomator", f"failed to dump the window: {error}", level="E", buffer="main")
    return printed(message)


def tree(android: Android) -> str:
    """Return the screen as uiautomator's XML: bounds in device pixels, later nodes above earlier ones."""
    width, height = android.device.size
    package = "com.android.systemui" if android.device.locked else android.device.focus[0]
    nodes = "".join(
        _node(_attributes_of(element, index, package, android.device.size))
        for index, element in enumerate(android.device.elements())
    )
    root = _attributes(
        **{"class": "android.widget.FrameLayout", "package": package, "bounds": f"[0,0][{width},{height}]"},
        scrollable=str(android.device.scrollable).lower(),
    )
    return (
        "<?xml version='1.0' encoding='UTF-8' standalone='yes' ?><hierarchy rotation=\"0\">"
        f"{_node(root, nodes)}</hierarchy>"
    )


def _attributes(**values: str) -> dict[str, str]:
    """Return all attributes in Android's order; what is not given is empty or false."""
    flags = ("checkable", "checked", "clickable", "enabled", "focusable", "focused", "scrollable", "long-clickable",
             "password", "selected")  # fmt: skip
    names = {"index": "0", "text": "", "resource-id": "", "class": "", "package": "", "content-desc": ""}
    return names | dict.fromkeys(flags, "false") | {"enabled": "true", "bounds": ""} | values


def _attributes_of(element: Any, index: int, package: str, size: tuple[int, int]) -> dict[str, str]:
    x1, y1, x2, y2 = element.bounds(size)
    word = re.sub(r"[^a-z0-9]+", "_", element.name.lower(), flags=re.ASCII).strip("_")
    truths = {
        "checkable": element.kind == "switch",
        "checked": element.kind == "switch" and element.value == "on",
        "clickable": element.tap is not None,
        "focusable": element.touchable,
        "focused": element.focused,
        "long-clickable": element.long_press is not None,
    }
    return _attributes(
        **{
            "index": str(index),
            "text": element.value or element.name if element.kind == "field" else element.name,
            "resource-id": f"{package}:id/{element.kind}{'_' if word else ''}{word}",
            "class": _CLASSES.get(element.kind, "android.view.View"),
            "package": package,
            "content-desc": element.name,
            "bounds": f"[{x1},{y1}][{x2},{y2}]",
        },
        **{name: str(truth).lower() for name, truth in truths.items()},
    )


def _node(attributes: dict[str, str], inside: str = "") -> str:
    """Return a node. NAF marks what can be clicked but has no text, as Android does."""
    without = attributes["clickable"] == "true" and not attributes["text"] and not attributes["content-desc"]
    values = ({"NAF": "true"} if without else {}) | attributes
    # XML forbids control characters; Android puts a dot in their place.
    text = " ".join(
        f"{name}={quoteattr(_NOT_IN_XML.sub('.', value), {chr(34): '&quot;'})}" for name, value in values.items()
    )
    return f"<node {text}>{inside}</node>" if inside else f"<node {text} />"
