"""The elements on a phone's screen, from uiautomator, which gives none on a page that is never idle."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

from mobile_r1_jax.phones.adb.shell import AdbShell

_FILE = "/data/local/tmp/window_dump.xml"
_READ = f"rm -f {_FILE}; uiautomator dump {_FILE} >/dev/null && cat {_FILE}; rm -f {_FILE}"


@dataclass(frozen=True)
class TreeNode:
    """One element. center: (x, y) in device pixels. field_text: the text of a focused field; None for others."""

    names: tuple[str, str]  # its text and its description
    center: tuple[int, int]
    field_text: str | None


def read_tree(shell: AdbShell) -> list[TreeNode]:
    """Return the elements of the screen; [] if the phone does not tell. The text of passwords is left out."""
    xml = shell.shell(_READ).stdout
    try:
        nodes = list(ElementTree.fromstring(xml[xml.find("<hierarchy") : xml.rfind(">") + 1]).iter("node"))
    except ElementTree.ParseError:
        return []
    return [_node(node) for node in nodes]


def _node(node: ElementTree.Element) -> TreeNode:
    text = node.get("text", "")
    bounds = re.fullmatch(r"\[(-?\d+),(-?\d+)\]\[(-?\d+),(-?\d+)\]", node.get("bounds", ""))
    x1, y1, x2, y2 = map(int, bounds.groups()) if bounds else (0, 0, 0, 0)
    is_field = node.get("focused") == "true" and node.get("class", "").endswith("EditText")
    told = text if is_field and node.get("password") != "true" else None
    return TreeNode((text, node.get("content-desc", "")), ((x1 + x2) // 2, (y1 + y2) // 2), told)
