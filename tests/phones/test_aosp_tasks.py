"""configs/tasks/aosp.yaml: all of it is valid, and what the simulated phone can play comes to a verdict on it."""

from collections import Counter
from pathlib import Path

import pytest

from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.adb.stream import ServerAddress
from mobile_r1_jax.phones.adb.task_program import clean_up, outcome, prepare
from mobile_r1_jax.phones.providers.simulated import INSTANT, SimulatedPhone
from mobile_r1_jax.tasks.file_suite import FileTasks
from mobile_r1_jax.tasks.program import Outcome
from mobile_r1_jax.tasks.slots import fill_line
from mobile_r1_jax.tasks.suite import Split

SUITE = FileTasks(Path(__file__).resolve().parents[2] / "configs" / "tasks" / "aosp.yaml")
TEMPLATES = {template.id: template for template in SUITE.templates}

# The shell lines that do a task, for the tasks whose commands the simulated phone knows.
DOINGS = {
    "brightness-max": "settings put system screen_brightness 255",
    "brightness-min": "settings put system screen_brightness 1",
    "adaptive-brightness": "settings put system screen_brightness_mode 1",
    "auto-rotate": "settings put system accelerometer_rotation 1",
    "screen-timeout": "settings put system screen_off_timeout {minutes}",
    "font-size": "settings put system font_scale 1.15",
    "clock-24-hours": "settings put system time_12_24 24",
    "touch-sounds": "settings put system sound_effects_enabled 0",
    "location": "settings put secure location_mode 0",
    "open-clock": "am start -n com.sim.clock/.HomeActivity",
    "open-messages": "am start -n com.sim.messages/.HomeActivity",
    "create-folder": "mkdir /sdcard/Download/{name}",
    "delete-file": "rm /sdcard/Download/{name}",
    "rename-file": "rm /sdcard/Download/{old}; echo text > /sdcard/Download/{new}",
    "move-file": "rm /sdcard/Download/{name}; echo text > /sdcard/Documents/{name}",
    "copy-file": "echo text > /sdcard/Documents/{name}",
}


def test_the_file_has_thirty_tasks_in_two_languages_for_six_apps() -> None:
    assert len(TEMPLATES) == 30
    apps = Counter(template.app for template in SUITE.templates)
    assert set(apps) == {"settings", "clock", "contacts", "messages", "files", "browser"} and min(apps.values()) >= 3
    for template in SUITE.templates:
        english, chinese = template.instructions
        assert english.isascii() and any("\u4e00" <= char <= "\u9fff" for char in chinese)
        assert template.steps and template.program.checks
    assert all(SUITE.draw(5, 0, split) for split in Split)


def test_at_least_twelve_tasks_are_played_here() -> None:
    assert len(DOINGS) >= 12 and set(DOINGS) <= set(TEMPLATES)


@pytest.mark.parametrize("name", DOINGS)
def test_a_task_is_not_done_until_it_is_done(
    phones: tuple[SimulatedPhone, ...], server: ServerAddress, name: str
) -> None:
    phone, template = AdbPhone(phones[3].serial, server, INSTANT), TEMPLATES[name]
    for labels in template.combinations[:: max(1, len(template.combinations) - 1)]:  # the first and the last
        task = template.task(template.instructions[0], labels)
        prepare(phone, task)
        assert outcome(phone, task) is Outcome.NOT_DONE
        values = {slot: template.values[slot][label] for slot, label in labels.items()}
        assert phone.shell(fill_line(DOINGS[name], values)).status == 0
        assert outcome(phone, task) is Outcome.DONE
        clean_up(phone, task)
