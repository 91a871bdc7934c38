"""configs/tasks/aosp.yaml is valid, and the simulated phone decides the outcome of every task that it supports."""

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

INSERT = "content insert --uri content://com.android.contacts"
KEYBOARD = "ime enable com.android.adbkeyboard/.AdbIME; ime set com.android.adbkeyboard/.AdbIME"
TYPE = "am broadcast -a ADB_INPUT_TEXT --es msg {text}"

# The shell lines that complete a task, for tasks whose commands the simulated phone has.
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
    "open-clock": "am start -n com.android.deskclock/.HomeActivity",
    "open-messages": "am start -n com.sim.messages/.HomeActivity",
    "create-folder": "mkdir /sdcard/Download/{name}",
    "delete-file": "rm /sdcard/Download/{name}",
    "rename-file": "rm /sdcard/Download/{old}; echo text > /sdcard/Download/{new}",
    "move-file": "rm /sdcard/Download/{name}; echo text > /sdcard/Documents/{name}",
    "copy-file": "echo text > /sdcard/Documents/{name}",
    "dark-theme": "cmd uimode night yes",
    "bluetooth": "svc bluetooth enable",
    "airplane-mode": "cmd connectivity airplane-mode enable",
    "media-volume": "cmd media_session volume --stream 3 --set 15",
    "set-alarm": "am start -a android.intent.action.SET_ALARM --ei android.intent.extra.alarm.HOUR $(echo {time} | cut"
    " -d: -f1 | sed s/^0//) --ei android.intent.extra.alarm.MINUTES $(echo {time} | cut -d: -f2)",
    "turn-off-alarm": "am start com.android.deskclock; input tap 56 42",
    "add-contact": f"{INSERT}/raw_contacts --bind account_name:n:; I=$(content query --uri"
    " content://com.android.contacts/raw_contacts --projection _id --sort '_id DESC' | sed -n '1s/.*_id=//p');"
    f" {INSERT}/data --bind raw_contact_id:i:$I --bind mimetype:s:vnd.android.cursor.item/name --bind data1:s:{{name}};"
    f" {INSERT}/data --bind raw_contact_id:i:$I --bind mimetype:s:vnd.android.cursor.item/phone_v2"
    " --bind data1:s:{number}",
    "delete-contact": "content delete --uri content://com.android.contacts/contacts --where display_name=\\'{name}\\'",
    "star-contact": "content update --uri content://com.android.contacts/contacts --bind starred:i:1"
    " --where display_name=\\'{name}\\'",
    "send-message": f"{KEYBOARD}; am start -d sms:{{number}}; {TYPE}; input keyevent ENTER",
    "send-chinese-message": f"{KEYBOARD}; am start -d sms:{{number}}; {TYPE}; input keyevent ENTER",
}


def test_file_has_thirty_tasks_in_two_languages_for_six_apps() -> None:
    assert len(TEMPLATES) == 30
    apps = Counter(template.app for template in SUITE.templates)
    assert set(apps) == {"settings", "clock", "contacts", "messages", "files", "browser"} and min(apps.values()) >= 3
    for template in SUITE.templates:
        english, chinese = template.instructions
        assert english.isascii() and any("\u4e00" <= char <= "\u9fff" for char in chinese)
        assert template.steps and template.program.checks
    assert all(SUITE.draw(5, 0, split) for split in Split)


def test_every_task_except_those_of_the_browser_is_tested() -> None:
    assert set(DOINGS) == {name for name, template in TEMPLATES.items() if template.app != "browser"}


@pytest.mark.parametrize("name", DOINGS)
def test_task_is_done_only_after_its_commands(
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
