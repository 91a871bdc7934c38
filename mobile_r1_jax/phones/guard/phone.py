"""A phone behind a guard: what an action risks is judged by the page in front, never by the words of the policy."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from mobile_r1_jax.agent.actions import (
    Action,
    Click,
    Key,
    LongPress,
    Open,
    Reply,
    Swipe,
    SystemButton,
    Terminate,
    Type,
    Wait,
    action_arguments,
)
from mobile_r1_jax.agent.frames import Frame, Point
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.phones.adb.keys import find_key
from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.adb.tree import read_hierarchy
from mobile_r1_jax.phones.adb.windows import focused_window, home_package
from mobile_r1_jax.phones.guard.judging import (
    HARMLESS,
    Judgement,
    is_permission_dialog,
    judge_key,
    judge_touch,
)
from mobile_r1_jax.phones.guard.page import Page, page_of
from mobile_r1_jax.phones.phone import Decision, PhoneError, Verdict
from mobile_r1_jax.phones.settings import GuardSettings
from mobile_r1_jax.tasks.task import Risk, Task

Ask = Callable[[Action, Judgement], bool]
"""Asks a person whether an action may be performed. Called in the phone's thread; it may wait."""

_SYSTEM = {"", "android", "com.android.systemui"}  # windows that belong to no app
_MOST_LINES = 30  # of typed text: each line break is Enter, which is judged by the page at that moment [ours]
_SCROLL = 5  # an upright swipe over at least a fifth of the height scrolls, and touches nothing [ours]


class GuardedPhone:
    """A phone whose risky actions are refused, confirmed by a person, or permitted by the task; see `phone.Phone`.

    ask: None if there is no person to ask. decisions: those since the last reset, oldest first. All other attributes
    are the phone's.
    """

    def __init__(self, phone: AdbPhone, settings: GuardSettings, ask: Ask | None = None) -> None:
        self.phone, self.settings, self.ask = phone, settings, ask
        self.decisions: list[Decision] = []
        self._permits: frozenset[Risk] = frozenset()
        self._home: str | None = None
        self._seen = ""  # hash of the last screenshot
        self._page: Page | None = None  # read since then, or before it if the screen has not changed

    def __getattr__(self, name: str) -> Any:
        return getattr(self.phone, name)

    def screenshot(self) -> Screenshot:
        """See Phone."""
        screenshot = self.phone.screenshot()
        if screenshot.sha != self._seen:
            self._page = None
        self._seen = screenshot.sha
        return screenshot

    def reset(self, task: Task) -> None:
        """See Phone. The task's `permits` count until the next reset."""
        self.decisions, self._permits, self._page, self._seen = [], task.permits, None, ""
        self.phone.reset(task)

    def perform(self, action: Action) -> str:
        """See Phone. Return the refusals with reasons, or the confirmations, in words."""
        if isinstance(action, (Wait, Reply, Terminate)):
            return self.phone.perform(action)
        steps = _steps(action) if self.settings.confirm != "never" else [action]
        if len(steps) > 2 * _MOST_LINES:
            return f"the text has more than {_MOST_LINES} lines; type fewer at once"
        notes, begun = [], False
        for step in steps:
            try:
                may, note = self._decide(step)
                effect = self.phone.perform(step) if may else ""
                begun = begun or may
                notes += filter(None, (note, effect, self._come_back(step) if may else ""))
            except PhoneError as error:
                if begun and not error.delivered:
                    raise PhoneError(error.serial, error.command, error.reason) from error
                raise
            if effect or not may:
                break
        return "; ".join(notes)

    def _decide(self, step: Action) -> tuple[bool, str]:
        """Return whether a step may be performed, and a note for the policy. A failure here means that nothing was
        sent."""
        try:
            if reason := self._leaves(step):
                return False, self._record(step, HARMLESS, "refused", f"the guard refused this: {reason}")
            judgement = self._judge(step)
        except PhoneError as error:
            raise PhoneError(error.serial, error.command, error.reason, delivered=False) from error
        if self.settings.confirm != "every":
            if not judgement.risks:
                return True, ""
            if judgement.risks <= self._permits:
                self._record(step, judgement, "permitted", "by the task")
                return True, ""
        if self.ask is None:
            words = f"the guard refused this: {judgement.reason}; the task does not permit it"
            return False, self._record(step, judgement, "refused", words)
        if self.ask(step, judgement):
            return True, self._record(step, judgement, "confirmed", f"the user confirmed this: {judgement.reason}")
        return False, self._record(step, judgement, "refused", f"the user refused this: {judgement.reason}")

    def _judge(self, step: Action) -> Judgement:
        if self.settings.confirm == "never":
            return HARMLESS
        if isinstance(step, (Click, LongPress)):
            return judge_touch(self._read(), *self._pixels(step.point))
        if isinstance(step, Swipe):
            (x1, y1), (x2, y2) = self._pixels(step.start), self._pixels(step.end)
            is_scroll = abs(y2 - y1) > max(abs(x2 - x1), self.phone.size[1] // _SCROLL)
            return HARMLESS if is_scroll else judge_touch(self._read(), x1, y1)
        if isinstance(step, (Key, SystemButton)):
            key = find_key(step.text if isinstance(step, Key) else step.button) or ""
            return judge_key(self._read, key.removeprefix("KEYCODE_"))
        return HARMLESS

    def _read(self) -> Page | None:
        """Return the page in front; None if the phone does not give it. A page whose picture is the same is kept."""
        if self._page is None or self.phone.screenshot().sha != self._seen:
            self._page = page_of(read_hierarchy(self.phone))
        return self._page

    def _pixels(self, point: Point) -> tuple[int, int]:
        moved = point.to(Frame("device", *self.phone.size))
        return moved.x, moved.y

    def _leaves(self, step: Action) -> str:
        """Return why a step leads out of the allowed apps, or is in none of them; "" if neither."""
        if not self.settings.allow or step in (SystemButton("Back"), SystemButton("Home")):
            return ""
        package = self.phone.package_of(step.app) if isinstance(step, Open) else self._front()
        return "" if package is None or self._is_allowed(package) else _outside(package)

    def _come_back(self, step: Action) -> str:
        """Press Back, and if that is not enough Home, after a step that left the allowed apps. Return a note for the
        policy."""
        if not self.settings.allow or self._is_allowed(left := self._front()):
            return ""
        for button in ("Back", "Home"):
            self.phone.perform(SystemButton(button))
            if self._is_allowed(self._front()):
                break
        return self._record(step, Judgement(package=left), "refused", f"the guard went {button}: {_outside(left)}")

    def _front(self) -> str:
        window = focused_window(self.phone)
        return window.package if window else ""

    def _is_allowed(self, package: str) -> bool:
        if self._home is None:
            self._home = home_package(self.phone)
        return package in {*self.settings.allow, *_SYSTEM, self._home} or is_permission_dialog(package)

    def _record(self, step: Action, judgement: Judgement, verdict: Verdict, words: str) -> str:
        risks = tuple(sorted(judgement.risks))
        decision = Decision(action_arguments(step), verdict, risks, judgement.printable_words, judgement.package, words)
        self.decisions.append(decision)
        return words


def _steps(action: Action) -> Sequence[Action]:
    """Return the steps of an action: each line break of typed text is a press of Enter, and each tab of Tab.

    A tab may lead to a button, which a blank would press: the phone looks again for a text field at each step."""
    if not isinstance(action, Type) or not {"\n", "\t"} & set(action.text):
        return [action]
    keys = {"\n": SystemButton("Enter"), "\t": Key("TAB")}
    return [keys.get(piece) or Type(piece) for piece in re.split(r"([\n\t])", action.text) if piece]


def _outside(package: str) -> str:
    return f"{package} is not among the allowed apps (guard.allow)"
