"""A simulated phone has the Android version that it is started with."""

import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from android_shell import AndroidShell

from mobile_r1_jax.agent.actions import Open, SystemButton, Type
from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.adb.stream import ServerAddress
from mobile_r1_jax.phones.providers.simulated import INSTANT, SimulatedPhone
from mobile_r1_jax.phones.simulator.android.commands import COMMANDS
from mobile_r1_jax.phones.simulator.android.daemon import ListeningPhone
from mobile_r1_jax.phones.simulator.android.shell import run
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.tasks.task import Task


@pytest.mark.parametrize(
    ("version", "sdk"), [(9, 28), (10, 29), (11, 30), (12, 31), (13, 33), (14, 34), (15, 35), (16, 36)]
)
def test_properties_follow_the_version(version: int, sdk: int) -> None:
    android = Android(Device(), "emulator-1", COMMANDS, version)

    def property_(name: str) -> str:
        return run(android, f"getprop {name}").output(1).decode().rstrip("\n")

    assert (property_("ro.build.version.release"), property_("ro.build.version.sdk")) == (str(version), str(sdk))
    assert f":{version}/{property_('ro.build.id')}/" in property_("ro.build.fingerprint")
    assert property_("ro.serialno") == "emulator-1" and property_("nothing.here") == ""


@pytest.mark.parametrize("version", ["8", "17", "fourteen", ""])
def test_unsupported_version_is_a_one_line_error(version: str) -> None:
    command = [sys.executable, "-m", "mobile_r1_jax.phones.simulator", f"--android={version}"]
    answer = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert answer.returncode == 2 and "argument --android: invalid" in answer.stderr.splitlines()[-1]


@pytest.mark.parametrize("version", [9, 10, 11, 12, 13, 14, 15, 16])
def test_adb_phone_drives_every_version(
    put_on_wire: Callable[..., ListeningPhone], server: ServerAddress, version: int
) -> None:
    listening = put_on_wire(Device(), version)
    phone = SimulatedPhone(listening.android.serial, server, INSTANT)
    assert phone.screenshot().width == 112 and phone.size == (112, 224)
    assert phone.perform(Open("Shop")) == "" and listening.android.device.focus[0] == "com.sim.shop"
    assert "no app" in phone.perform(Open("Nowhere"))
    assert phone.perform(SystemButton("Home")) == "" and listening.android.device.focus[0] == "com.sim.launcher"
    listening.android.device.open("messages/chat/Anna")
    assert phone.perform(Type("hello 你好")) == ""
    assert "hello 你好" in [element.value for element in listening.android.device.elements()]
    AdbPhone(phone.serial, server, INSTANT).reset(Task("Shop", "buy shoes"))
    assert listening.android.device.focus[0] == "com.sim.launcher"


@pytest.mark.parametrize("line", ["nosuch", "/system/bin/nosuch -x", "./nosuch", "cd /sdcard; echo a | nosuch"])
def test_shell_of_android_9_has_a_shorter_message_for_unknown_commands(line: str) -> None:
    name = re.search(r"[./\w]*nosuch", line)[0]
    for version, words in ((9, "not found"), (10, "inaccessible or not found"), (16, "inaccessible or not found")):
        assert AndroidShell(version)(line) == ("", f"/system/bin/sh: {name}: {words}\n", 127)
