"""The user's settings of a phone, written to disk before they are changed, so that a crash cannot lose them."""

from __future__ import annotations

import json
import logging
import os
import shlex
from pathlib import Path
from urllib.parse import quote

from mobile_r1_jax.agent.whole_files import write_whole
from mobile_r1_jax.phones.adb.shell import AdbShell

KEYBOARD = "secure default_input_method"
_ENABLED = "secure enabled_input_methods"

log = logging.getLogger(__name__)


def user_state() -> Path:
    """Return this project's folder in the user's state directory."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "mobile-r1-jax"


class SavedSettings:
    """The settings of one phone that were changed, with the values to restore.

    folder: holds a file per serial while something is changed. After a crash, the next one of the same serial reads it.
    """

    def __init__(self, shell: AdbShell, folder: Path) -> None:
        self._shell = shell
        self._file = folder / f"{quote(shell.serial, safe='')}.json"

    def change(self, settings: dict[str, str]) -> None:
        """Change settings, by "namespace name". The first value that a setting had is saved and stays saved.

        Log a warning for settings that the phone refuses, as some vendors' phones do. Raises PhoneError if the phone
        does not answer.
        """
        self.save(list(settings))
        for name, value in settings.items():
            self._put(name, value)

    def save(self, names: list[str]) -> None:
        """Save the values of settings that will be changed."""
        saved = self._saved()
        missing = [name for name in names if name not in saved]
        if missing:
            values = self._shell.checked("; ".join(f"settings get {name}" for name in missing)).splitlines()
            if len(values) == len(missing):
                self._write(saved | dict(zip(missing, values, strict=True)))
            else:
                log.warning("phone %s does not report its settings; they will not be restored", self._shell.serial)

    def restore(self, names: list[str] | None = None) -> None:
        """Restore saved settings: the named ones, or all. Raises PhoneError if the phone does not answer."""
        saved = self._saved()
        for name in [name for name in saved if names is None or name in names]:
            if name == KEYBOARD:
                self._restore_keyboard(saved[name], saved.get(_ENABLED, ""))
            elif name != _ENABLED:
                self._put(name, saved[name])
            self._write({key: value for key, value in self._saved().items() if key != name})

    def save_keyboard(self) -> None:
        """Save which keyboard is selected and which are enabled."""
        self.save([KEYBOARD, _ENABLED])

    def restore_keyboard(self) -> None:
        """Restore the selected and the enabled keyboards, if they were saved."""
        self.restore([KEYBOARD, _ENABLED])

    def _restore_keyboard(self, selected: str, enabled: str) -> None:
        now = self._shell.shell("settings get secure default_input_method").stdout.strip()
        if selected in ("", "null", now):
            return
        answer = self._shell.shell(f"ime set {shlex.quote(selected)}")
        if answer.failed:
            log.warning("phone %s: its keyboard %s cannot be restored: %s", self._shell.serial, selected, answer.words)
        elif enabled and now not in (word.split(";")[0] for word in enabled.split(":")):
            self._shell.shell(f"ime disable {shlex.quote(now)}")

    def _put(self, name: str, value: str) -> None:
        namespace, key = name.split(" ")
        line = f"settings delete {name}" if value == "null" else f"settings put {namespace} {key} {shlex.quote(value)}"
        answer = self._shell.shell(line)
        if answer.failed:
            log.warning("phone %s: %s: %s", self._shell.serial, line, answer.words)

    def _saved(self) -> dict[str, str]:
        try:
            saved = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            log.warning("%s cannot be read (%s); its phone keeps the settings that it has", self._file, error)
            return {}
        return {str(name): str(value) for name, value in saved.items()} if isinstance(saved, dict) else {}

    def _write(self, saved: dict[str, str]) -> None:
        if saved:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._file, json.dumps(saved, indent=2) + "\n")
        else:
            self._file.unlink(missing_ok=True)
