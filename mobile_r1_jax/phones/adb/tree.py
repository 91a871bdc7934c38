"""The elements on a phone's screen, from uiautomator, which gives none on a page that is never idle."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

from mobile_r1_jax.phones.adb.shell import AdbShell

_FILE = "/data/local/tmp/window_dump.xml"
# The line that reports success also appears when the file could not be written, so an old file is removed first.
_READ = f"rm -f {_FILE}; uiautomator dump {_FILE} >/dev/null && cat {_FILE}; rm -f {_FILE}"
_SECONDS = 15.0  # added to the limit of a command: uiautomator waits up to 10 s for a page that does not move
_PAUSE = 0.5  # seconds; during a change of windows there is no tree


@dataclass(frozen=True)
class TreeNode:
    """One element. center: (x, y) in device pixels. field_text: the text of a focused field; None for others."""

    names: tuple[str, str]  # its text and its description
    center: tuple[int, int]
    field_text: str | None


def read_tree(shell: AdbShell) -> list[TreeNode]:
    """Return the elements of the screen; [] if the phone does not report them. The text of passwords is left out."""
    tree = read_hierarchy(shell)
    return [] if tree is None else [_node(node) for node in tree.iter("node")]


def read_hierarchy(shell: AdbShell) -> ElementTree.Element | None:
    """Return uiautomator's XML; None if the phone gives none, as for a page that moves all the time and many games.

    Raises PhoneError only if the phone or the connection fails.
    """
    for attempt in range(2):
        answer = shell.shell(_READ, _SECONDS)
        xml = answer.stdout
        try:
            return ElementTree.fromstring(xml[xml.find("<hierarchy") : xml.rfind(">") + 1])
        except ElementTree.ParseError:
            if attempt or "null root node" not in answer.stderr:
                return None
        time.sleep(_PAUSE)
    return None


def _node(node: ElementTree.Element) -> TreeNode:
    text = node.get("text", "")
    bounds = re.fullmatch(r"\[(-?\d+),(-?\d+)\]\[(-?\d+),(-?\d+)\]", node.get("bounds", ""))
    x1, y1, x2, y2 = map(int, bounds.groups()) if bounds else (0, 0, 0, 0)
    is_field = node.get("focused") == "true" and node.get("class", "").endswith("EditText")
    field_text = text if is_field and node.get("password") != "true" else None
    return TreeNode((text, node.get("content-desc", "")), ((x1 + x2) // 2, (y1 + y2) // 2), field_text)
