"""Opening of apps by a name: the name's package, its launcher activity, and its start, as a launcher does it."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable

from mobile_r1_jax.phones.adb.apps import APP_PACKAGES, names_of_app, plain_name
from mobile_r1_jax.phones.adb.shell import AdbShell
from mobile_r1_jax.phones.adb.tree import read_tree
from mobile_r1_jax.phones.adb.windows import focused_window
from mobile_r1_jax.phones.phone import PhoneError

_PACKAGE = re.compile(r"[A-Za-z]\w*(\.\w+)+", re.ASCII)
_LAUNCHER = "-a android.intent.action.MAIN -c android.intent.category.LAUNCHER"
_QUERY = f"query-activities --components {_LAUNCHER}"
LABELS = f"cmd package query-activities {_LAUNCHER}"
_DIALOGS = ("permissioncontroller", "packageinstaller", "Application Not Responding", "Application Error")
_POLL = 0.25  # seconds
_REFUSED = ("do not have permission", "not allowed for the given user", "SecurityException")


class Apps:
    """The apps of one phone. Results of look-ups are cached until `forget`.

    user: returns the number of the phone's current user; with a work profile, commands without it fail. labels: returns
    label -> package of the apps whose label the phone reports. front: longest wait for an opened app, in seconds; 0:
    look neither for the app nor for unknown names on the home screen.
    """

    def __init__(
        self, shell: AdbShell, user: Callable[[], int], labels: Callable[[], dict[str, str]], front: float
    ) -> None:
        self._shell, self._user, self._labels, self._front = shell, user, labels, front
        self._components: dict[str, str] = {}  # of plain names
        self._labelled: dict[str, str] | None = None

    def forget(self) -> None:
        """Look up every app again: apps may have been installed."""
        self._components.clear()
        self._labelled = None

    def open(self, app: str) -> str:
        """Open an app by its name or package. Return "" or why it cannot be opened. Raises PhoneError."""
        name = plain_name(app)
        for attempt in range(2):
            was_known = name in self._components
            packages = self._find(name, app.strip())
            component = self._components.get(name)
            if component is None:
                if self._front and self._tap_icon(name):
                    return ""
                return f"{app!r} is not installed, or has nothing to open" if packages else f"no app is called {app!r}"
            line = f"am start --user {self._user()} -n {shlex.quote(component)} {_LAUNCHER} -f 0x10200000"
            answer = self._shell.shell(line)
            words = f"{answer.stdout}\n{answer.stderr}"
            # Warnings count as success: they say that the app was in front before.
            if answer.status == 0 and not re.search(r"^(?:Error|Exception|java\.)", words, re.M):
                self._wait(component.split("/")[0])
                return ""
            if any(refusal in words for refusal in _REFUSED):
                return f"the phone refuses to open {app!r}"
            self._components.pop(name)
            if not was_known or attempt:
                break  # else an update of the app may have renamed its activity
        errors = [text.strip() for text in words.splitlines() if "Error" in text]
        raise PhoneError(self._shell.serial, line, f"the app did not start: {(errors or [answer.words])[-1][:200]}")

    def package_of(self, app: str) -> str | None:
        """Return the package that `open` would open; None if there is none. Raises PhoneError."""
        name = plain_name(app)
        self._find(name, app.strip())
        component = self._components.get(name)
        return component and component.split("/")[0]

    def _find(self, name: str, app: str) -> list[str]:
        """Return the packages that the name can mean, and keep the launcher activity of the first installed one."""
        if name in self._components:
            return [self._components[name].split("/")[0]]
        known = [*APP_PACKAGES.get(name, ()), *([app] if _PACKAGE.fullmatch(app) else [])]
        if known and self._resolve(name, known):
            return known
        if self._labelled is None:
            self._labelled = {plain_name(label): package for label, package in self._labels().items()}
        labelled = [self._labelled[label] for label in sorted(names_of_app(name)) if label in self._labelled]
        if labelled:
            self._resolve(name, labelled)
        return known + labelled

    def _resolve(self, name: str, packages: list[str]) -> bool:
        """Keep the launcher activity of the first package that has one. Return whether there is one."""
        for command in ("resolve-activity --brief -c android.intent.category.LAUNCHER", _QUERY):
            lines = [f"cmd package {command} --user {self._user()} {shlex.quote(package)}" for package in packages]
            components = re.findall(r"^\s*([\w.]+/[\w.$]+)\s*$", self._shell.shell("; ".join(lines)).stdout, re.M)
            for package in packages:
                for component in components:  # the package decides: with two launchers the system's chooser is named
                    if component.startswith(f"{package}/"):
                        self._components[name] = component
                        return True
            if not any(component.startswith("android/") for component in components):
                return False
        return False

    def _tap_icon(self, name: str) -> bool:
        """Go to the home screen, and tap the icon of an app with that name. Return whether there is one."""
        self._shell.checked("input keyevent KEYCODE_HOME")
        names = names_of_app(name) - {""}
        icons = [node for node in read_tree(self._shell) if names & {*map(plain_name, node.names)}]
        if icons:
            self._shell.checked("input tap {} {}".format(*icons[-1].center))  # later nodes are inside of earlier ones
        return bool(icons)

    def _wait(self, package: str) -> None:
        """Wait until the app, or a dialog over it, has the focus."""
        deadline = time.monotonic() + self._front
        while time.monotonic() < deadline:
            window = focused_window(self._shell)
            if window and (window.package == package or any(word in window.title for word in _DIALOGS)):
                return
            time.sleep(_POLL)


def reported_labels(dump: str) -> dict[str, str]:
    """Return label -> package of the apps in `cmd package query-activities` whose label is not a resource."""
    labels = {}
    for activity in re.split(r"ActivityInfo:", dump)[1:]:
        package = re.search(r"^\s*packageName=(\S+)", activity, re.M)
        label = re.search(r"nonLocalizedLabel=(?!null\b)(.+?) icon=", activity)
        if package and label:
            labels.setdefault(label[1], package[1])
    return labels
