"""The risks of an action, by the element that it touches and the page. No phone and no policy is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mobile_r1_jax.phones.guard.page import Element, Page, texts
from mobile_r1_jax.phones.guard.risks import (
    EVERY_RISK,
    Risks,
    confirms,
    declines,
    plain_label,
    risks_of_id,
    risks_of_label,
    risks_of_question,
)
from mobile_r1_jax.phones.guard.words import NOT_BY_ENTER
from mobile_r1_jax.tasks.task import Risk

_SMALL = 4  # an element of at most a quarter of the page is a button or a row, whose texts all belong to it [ours]
_DRAWINGS = ("WebView", "SurfaceView", "TextureView", "UnityPlayer")  # classes that draw their own content
# Packages of system dialogs: their buttons have a risk unless they decline. Makers rename the package.
_PERMISSION_DIALOGS = ("permissioncontroller", "com.lbe.security", "securitypermission", "permissionmanager")
_INSTALLERS = ("packageinstaller",)
_MOST_SHOWN = 5  # words in a message
_ENTERS = {"ENTER", "NUMPAD_ENTER", "DPAD_CENTER", "SPACE"}
_DELETES = {"DEL", "FORWARD_DEL"}
_SEARCHES = ("search", "query", "url", "address", "find", "搜索", "搜尋", "查找")


@dataclass(frozen=True)
class Judgement:
    """The risks of an action and the words that name them. An unreadable element has every risk and no words."""

    risks: Risks = frozenset()
    words: tuple[str, ...] = ()
    package: str = ""

    @property
    def is_unreadable(self) -> bool:
        """Whether nothing could be read at the place of the touch."""
        return self.risks == EVERY_RISK and not self.words

    @property
    def printable_words(self) -> tuple[str, ...]:
        """Return the words as they may be printed: without control and invisible characters, and not too many."""
        return tuple(printable(word) for word in self.words[:_MOST_SHOWN])

    @property
    def reason(self) -> str:
        """Return the risks and the words in one line."""
        if self.is_unreadable:
            return "the page cannot be read there, so it may be anything"
        quoted = ", ".join(f'"{word}"' for word in self.printable_words)
        return f"{', '.join(sorted(self.risks)) or 'no known risk'}, by the words {quoted or '(none)'}"


def printable(text: str) -> str:
    """Return a text from the screen for a terminal or a record: in one line, printable, at most 60 characters."""
    line = "".join(char if char.isprintable() else " " for char in text[:200])
    line = " ".join(line.split())
    return line if len(line) <= 60 else f"{line[:57]}..."


HARMLESS, UNREADABLE = Judgement(), Judgement(EVERY_RISK)


def judge_touch(page: Page | None, x: int, y: int) -> Judgement:
    """Return the risks of a touch at a point in device pixels. page: None if it could not be read."""
    if page is None:
        return UNREADABLE
    reached = page.under(x, y)
    if not reached:
        return Judgement(package=page.package)
    target = reached[-1]
    if _SMALL * target.area <= page.area and target.touchable:
        reached += [element for element in page.inside(target) if element not in reached]
    if _is_drawn(page, reached):
        return Judgement(EVERY_RISK, (), target.package)
    return _judge_elements(page, target, reached)


def judge_key(read: Callable[[], Page | None], key: str) -> Judgement:
    """Return the risks of a key. key: its Android name without KEYCODE_, such as ENTER. read: returns the page."""
    if key == "CALL":
        return Judgement(frozenset({Risk.SENDING}), ("CALL",))
    if key not in _ENTERS | _DELETES:
        return HARMLESS
    page = read()
    if page is None:
        return UNREADABLE
    focused = page.focused
    if key in _DELETES:
        is_field = focused is None or focused.is_field
        return HARMLESS if is_field else Judgement(frozenset({Risk.DELETION}), texts([focused]), page.package)
    if focused is None or (key == "SPACE" and focused.is_field):
        return Judgement(package=page.package)
    if not focused.is_field:
        return _judge_elements(page, focused, [focused, *page.inside(focused)])
    return _judge_enter(page, focused)


def _judge_enter(page: Page, field: Element) -> Judgement:
    """Return the risks of Enter in a text field: those of a button that sends or pays, unless the field searches."""
    names = plain_label(f"{field.resource_id.rpartition('/')[2]} {field.text} {field.description}")
    if any(word in names for word in _SEARCHES):
        return Judgement(package=page.package)
    for element in page.elements:
        if element.touchable:
            found = _judge_elements(page, element, [element, *page.inside(element)])
            is_other = any(word in plain_label(label) for label in found.words for word in NOT_BY_ENTER)
            if found.risks & {Risk.SENDING, Risk.PAYMENT} and not is_other:
                return found
    return Judgement(package=page.package)


def _judge_elements(page: Page, target: Element, elements: list[Element]) -> Judgement:
    """Return the risks of `elements`, which are touched together. target: the one that takes the touch."""
    labels, risks = texts(elements), set()
    for element in elements:
        for label in element.labels:
            risks |= risks_of_label(label, any_length=element.is_button)
        if not element.is_field:
            risks |= risks_of_id(element.resource_id)
    if any(map(confirms, labels)):
        asked = texts([element for element in page.elements if not element.touchable])
        for text in asked:
            if found := risks_of_question(text):
                risks |= found
                labels = (*labels, text)
    if target.is_button and not any(map(declines, labels)):
        risks |= _dialog_risks(target)
    return Judgement(frozenset(risks), labels, target.package)


def is_permission_dialog(package: str) -> bool:
    """Return whether a package shows the system's permission dialogs."""
    return any(name in package for name in _PERMISSION_DIALOGS)


def _dialog_risks(button: Element) -> Risks:
    """Return the risks of a system dialog's button that does not decline. Android 9 installs and permits in one app."""
    is_installer = any(name in button.package for name in _INSTALLERS)
    if is_permission_dialog(button.package) or (is_installer and "permission_" in button.resource_id):
        return frozenset({Risk.PERMISSIONS})
    return frozenset({Risk.INSTALLING}) if is_installer else frozenset()


def _is_drawn(page: Page, reached: list[Element]) -> bool:
    """Return whether a touch meets something without words that draws its own content, such as a game."""
    innermost = reached[0]
    if any(element.labels for element in reached) or any(e.parent == innermost.number for e in page.elements):
        return False
    is_large_view = innermost.kind == "android.view.View" and 2 * innermost.area > page.area
    return innermost.kind.endswith(_DRAWINGS) or is_large_view
