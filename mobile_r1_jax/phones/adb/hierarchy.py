"""The tree of the page in front, by uiautomator."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ElementTree

from mobile_r1_jax.phones.adb.shell import AdbShell

_FILE = "/data/local/tmp/window_dump.xml"
# The line that reports success also appears when the file could not be written, so an old file is removed first.
_DUMP = f"rm -f {_FILE}; uiautomator dump {_FILE} >/dev/null && cat {_FILE}; rm -f {_FILE}"
_SECONDS = 15.0  # added to the limit of a command: uiautomator waits up to 10 s for a page that does not move
_PAUSE = 0.5  # seconds; during a change of windows there is no tree


def read_hierarchy(shell: AdbShell) -> ElementTree.Element | None:
    """Return uiautomator's tree; None if the phone gives none, as for a page that moves all the time and many games.

    Raises PhoneError only if the phone or the connection fails.
    """
    for attempt in range(2):
        answer = shell.shell(_DUMP, _SECONDS)
        xml = answer.stdout
        try:
            return ElementTree.fromstring(xml[xml.find("<hierarchy") : xml.rfind(">") + 1])
        except ElementTree.ParseError:
            if attempt or "null root node" not in answer.stderr:
                return None
        time.sleep(_PAUSE)
    return None
