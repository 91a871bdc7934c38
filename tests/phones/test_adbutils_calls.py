"""Calls that other tools make through adbutils and the adb binary, on a simulated phone."""

import subprocess
from pathlib import Path

import adbutils
import pytest
from adbutils import AdbError

from mobile_r1_jax.phones.adb.server import adb_path
from mobile_r1_jax.phones.adb.stream import ServerAddress
from mobile_r1_jax.phones.providers.simulated import SimulatedPhone


@pytest.fixture
def device(phone: SimulatedPhone, server: ServerAddress) -> adbutils.AdbDevice:
    return adbutils.AdbClient(server.host, server.port, socket_timeout=10).device(phone.serial)


def test_adbutils_reads_state_features_and_properties(device: adbutils.AdbDevice) -> None:
    assert device.get_state() == "device"
    assert {"shell_v2", "stat_v2", "ls_v2"} <= set(device.get_features().split(","))
    assert device.prop.model == "Simulated Phone"
    assert device.getprop("sys.boot_completed") == "1"
    assert device.shell("whoami") == "shell"
    assert int(device.shell("date +%s")) > 1_600_000_000


def test_shell_returns_both_outputs_and_the_exit_status(device: adbutils.AdbDevice) -> None:
    result = device.shell2("echo out; nosuch", v2=True, timeout=5)
    assert (result.stdout, result.stderr, result.returncode) == (
        "out\n",
        "/system/bin/sh: nosuch: inaccessible or not found\n",
        127,
    )
    assert device.shell2("false", timeout=5).returncode == 1


def test_adbutils_reads_and_controls_the_screen(device: adbutils.AdbDevice) -> None:
    assert tuple(device.window_size()) == (112, 224)
    assert device.rotation() == 0
    assert device.is_screen_on()
    assert device.screenshot(error_ok=False).size == (112, 224)
    assert device.shell("screencap -p", encoding=None).startswith(b"\x89PNG")
    device.keyevent("SLEEP")
    assert not device.is_screen_on()
    device.switch_screen(True)
    assert device.is_screen_on()


def test_adbutils_starts_stops_and_lists_apps(device: adbutils.AdbDevice) -> None:
    assert "com.sim.shop" in device.list_packages()
    assert "com.sim.launcher" not in device.list_packages(["-3"])
    device.app_start("com.sim.shop")
    assert (device.app_current().package, device.app_current().activity) == ("com.sim.shop", ".HomeActivity")
    device.app_stop("com.sim.shop")
    assert device.app_current().package == "com.sim.launcher"
    device.app_start("com.android.deskclock", ".HomeActivity")
    assert device.app_current().package == "com.android.deskclock"
    device.keyevent("HOME")
    assert device.app_current().package == "com.sim.launcher"
    info = device.app_info("com.sim.shop")
    assert info is not None and info.version_name == "1.0"
    assert device.app_info("com.none") is None
    assert "does not exist" in device.shell("am start -n com.none/.A")
    assert "com.sim.shop/.HomeActivity" in device.shell("cmd package resolve-activity --brief com.sim.shop")


def test_ui_tree_names_the_elements_on_the_screen(device: adbutils.AdbDevice) -> None:
    device.app_start("com.sim.settings")
    tree = device.dump_hierarchy()
    assert 'text="Settings"' in tree and 'class="android.widget.Switch"' in tree
    assert "UI hierchary dumped to: /sdcard/window_dump.xml" in device.shell("uiautomator dump")


def test_adbutils_reads_settings_keyboards_and_battery(device: adbutils.AdbDevice) -> None:
    device.shell("settings put global window_animation_scale 0")
    assert device.shell("settings get global window_animation_scale") == "0"
    assert device.shell("settings get secure nothing") == "null"
    assert "window_animation_scale=0" in device.shell("settings list global")
    device.brightness_value = 7
    assert device.brightness_value == 7
    assert "com.android.adbkeyboard/.AdbIME" in device.shell("ime list -a -s")
    assert device.battery().level == 100


def test_dumps_have_the_lines_that_tools_parse(device: adbutils.AdbDevice) -> None:
    device.app_start("com.sim.shop")
    lines = {
        "dumpsys window": "mCurrentFocus=Window{",
        "dumpsys activity activities": "topResumedActivity=ActivityRecord{",
        "dumpsys activity top": "ACTIVITY com.sim.shop/",
        "dumpsys input": "logicalFrame=[0, 0, 112, 224]",
        "dumpsys input_method": "mInputShown=",
        "dumpsys nosuch": "Can't find service: nosuch",
        "am stack list": "com.sim.shop",
        "wm density": "Physical density: ",
    }
    for command, expected in lines.items():
        assert expected in device.shell(command), command
    assert "com.sim.shop" in device.shell("dumpsys window displays | grep -E 'mCurrentFocus|mFocusedApp'")


def test_root_reverse_and_sockets_are_refused_at_once(device: adbutils.AdbDevice) -> None:
    assert "cannot run as root" in device.root()
    with pytest.raises(AdbError):
        device.reverse("tcp:1", "tcp:2")
    with pytest.raises(AdbError):
        device.create_connection(adbutils.Network.TCP, 80)


def test_files_are_pushed_and_pulled(device: adbutils.AdbDevice, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    assert device.sync.push(content, "/sdcard/push/deep/data.bin", mode=0o600) == len(content)
    assert device.sync.read_bytes("/sdcard/push/deep/data.bin") == content
    assert device.sync.read_bytes("/storage/emulated/0/push/deep/data.bin") == content
    status = device.sync.stat("/sdcard/push/deep/data.bin")
    assert (status.size, status.mode & 0o777) == (len(content), 0o600)
    assert [entry.path for entry in device.sync.list("/sdcard/push")] == ["deep"]
    assert not device.sync.exists("/sdcard/nothing")
    device.sync.pull("/sdcard/push", tmp_path / "pulled", exist_ok=True)
    assert (tmp_path / "pulled/deep/data.bin").read_bytes() == content
    device.rmtree("/sdcard/push")
    assert device.sync.list("/sdcard/push") == []
    with pytest.raises(AdbError, match="No such file"):
        device.sync.read_bytes("/sdcard/push/deep/data.bin")
    with pytest.raises(AdbError):
        device.sync.push(b"x", "/system/bin/sh")


def test_a_screenshot_saved_on_the_phone_can_be_pulled(device: adbutils.AdbDevice) -> None:
    device.shell("screencap -p /sdcard/x.png")
    assert device.sync.read_bytes("/sdcard/x.png") == device.shell("cat /sdcard/x.png", encoding=None)
    assert "x.png" in device.shell("ls /sdcard")
    device.remove("/sdcard/x.png")
    assert "No such file" in device.shell("cat /sdcard/x.png")


def test_adb_binary_works_with_the_simulated_phone(
    phone: SimulatedPhone, server: ServerAddress, tmp_path: Path
) -> None:
    def adb(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [adb_path(), "-H", server.host, "-P", str(server.port), "-s", phone.serial, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)

    (tmp_path / "up").write_bytes(b"payload" * 50_000)
    assert adb("push", str(tmp_path / "up"), "/sdcard/Download/").returncode == 0
    assert "up" in adb("ls", "/sdcard/Download").stdout
    assert adb("pull", "/sdcard/Download/up", str(tmp_path / "down")).returncode == 0
    assert (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes()
    assert adb("shell", "exit-less; false").returncode == 1
    assert adb("exec-out", "echo", "hello").stdout == "hello\n"
    assert adb("pull", "/sdcard/none", str(tmp_path)).returncode != 0
