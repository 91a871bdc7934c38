"""A simulated phone has the Android version that it is started with."""

import subprocess
import sys

import pytest

from mobile_r1_jax.phones.simulator.android.commands import COMMANDS
from mobile_r1_jax.phones.simulator.android.shell import run
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.device import Device


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
def test_a_version_that_cannot_be_is_one_line(version: str) -> None:
    command = [sys.executable, "-m", "mobile_r1_jax.phones.simulator", f"--android={version}"]
    answer = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert answer.returncode == 2 and "argument --android: invalid" in answer.stderr.splitlines()[-1]
