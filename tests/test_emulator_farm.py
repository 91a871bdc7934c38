"""The compose file of several emulators is valid, reachable only from this machine, and in the how-to."""

import re
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "launch" / "emulator_farm.yaml"
ADB_LOOKS_AT = range(5554, 5587)  # adb would list a phone on such a port twice


def ports() -> range:
    [published] = yaml.safe_load(FILE.read_text())["services"]["phone"]["ports"]
    found = re.fullmatch(r"127\.0\.0\.1:(\d+)-(\d+):5555", published)
    assert found is not None
    return range(int(found[1]), int(found[2]) + 1)


def test_every_emulator_has_a_local_port_that_adb_does_not_scan() -> None:
    phone = yaml.safe_load(FILE.read_text())["services"]["phone"]
    assert len(ports()) == 32 and not set(ports()) & set(ADB_LOOKS_AT)
    assert phone["devices"] == ["/dev/kvm"] and all(isinstance(value, str) for value in phone["environment"].values())
    try:
        compose = ["docker", "compose", "--file", str(FILE), "config", "--quiet"]
        known = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=60).returncode == 0
    except OSError:
        known = False
    assert not known or subprocess.run(compose, capture_output=True, timeout=60).returncode == 0


def test_commands_in_the_file_and_the_how_to_use_these_ports() -> None:
    for text in (FILE.read_text(), (ROOT / "docs" / "howto" / "my-emulators.md").read_text()):
        scale = int(re.search(r"--scale phone=(\d+)", text)[1])
        first, last = map(int, re.search(r"seq (\d+) (\d+)", text).groups())
        assert range(first, last + 1) == ports()[:scale]
