"""pm and `cmd package` behave like Android; the adb binary and adbutils install apps."""

import contextlib
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import adbutils
import pytest
from android_shell import VERSIONS, AndroidShell

from mobile_r1_jax.phones.adb.server import adb_path
from mobile_r1_jax.phones.adb.stream import ServerAddress
from mobile_r1_jax.phones.simulator.android.apk import NotApk, read_manifest
from mobile_r1_jax.phones.simulator.android.daemon import ListeningPhone
from mobile_r1_jax.phones.simulator.device import Device

KEYBOARD = "com.android.adbkeyboard"
LAUNCHERS = "-a android.intent.action.MAIN -c android.intent.category.LAUNCHER"


@pytest.mark.parametrize("version", VERSIONS)
def test_packages_are_listed_by_origin_name_and_detail(version: int) -> None:
    shell = AndroidShell(version)
    everything, own = shell.out("pm list packages"), shell.out("pm list packages -3")
    assert "package:com.sim.shop\n" in everything and "package:android\n" in everything
    assert "package:com.sim.shop\n" in own and "com.sim.settings" not in own and "android\n" not in own
    assert sorted((own + shell.out("pm list packages -s")).splitlines()) == everything.splitlines()
    assert shell.out("cmd package list packages") == everything
    assert shell.out("pm list packages clock") == "package:com.android.deskclock\n"
    assert (
        shell.out("pm list packages -f clock")
        == "package:/data/app/com.android.deskclock/base.apk=com.android.deskclock\n"
    )
    assert shell.out("pm list packages --show-versioncode clock") == "package:com.android.deskclock versionCode:1\n"
    assert shell.out("pm list packages -U clock").startswith("package:com.android.deskclock uid:10")
    assert shell.out("pm list packages -d") == ""
    assert shell("pm list packages --frob") == ("Error: Unknown option: --frob\n", "", 255)
    assert shell("pm list").status == shell("pm list nonsense").status == 255
    assert shell.out("pm path com.sim.shop") == "package:/data/app/com.sim.shop/base.apk\n"
    assert shell.out("pm path android").startswith("package:/system/")
    assert shell("pm path com.none") == ("", "", 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_packages_of_another_user_are_not_listed(version: int) -> None:
    shell = AndroidShell(version)
    assert shell.out("pm list users") == "Users:\n\tUserInfo{0:Owner:c13} running\n"
    shell.android.users[150] = "Secure Folder"
    assert "\tUserInfo{150:Secure Folder:1010} running\n" in shell.out("pm list users")
    error = "Error: java.lang.SecurityException: Shell does not have permission to access user 150\n"
    for line in (
        "pm list packages",
        "pm list packages -3",
        "pm list packages --user 150",
        "pm list packages --user all",
    ):
        assert shell(line) == ("", error, 0 if version == 16 else 255)
    assert "package:com.sim.shop" in shell.out("pm list packages --user 0")
    assert "package:com.sim.shop" in shell.out("cmd package list packages --user 0 -3")


@pytest.mark.parametrize("version", VERSIONS)
def test_resolve_activity_answers_as_opening_apps_needs(version: int) -> None:
    shell = AndroidShell(version)
    brief = "priority=0 preferredOrder=0 match=0x108000 specificIndex=-1 isDefault=false\n"
    for line in ("com.sim.shop", "-c android.intent.category.LAUNCHER com.sim.shop", f"{LAUNCHERS} com.sim.shop"):
        assert shell.out(f"cmd package resolve-activity --brief {line}") == f"{brief}com.sim.shop/.HomeActivity\n"
    for package in ("com.none", KEYBOARD, "android"):
        assert shell(f"cmd package resolve-activity --brief {package}") == ("No activity found\n", "", 0)
        assert shell(f"cmd package query-activities --brief {LAUNCHERS} {package}") == ("No activities found\n", "", 0)
    assert shell.out(f"cmd package query-activities --brief {LAUNCHERS} com.sim.shop") == (
        f"1 activities found:\n  Activity #0:\n    {brief}    com.sim.shop/.HomeActivity\n"
    )
    listed = shell.out(f"cmd package query-activities --components {LAUNCHERS}").splitlines()
    assert "com.android.deskclock/.HomeActivity" in listed and listed == sorted(listed)
    home = shell.out(
        "cmd package resolve-activity --brief -a android.intent.action.MAIN -c android.intent.category.HOME"
    )
    assert home.endswith("\ncom.sim.launcher/.HomeActivity\n")
    several = shell.out(f"cmd package resolve-activity --brief {LAUNCHERS}")
    assert several.endswith("\nandroid/com.android.internal.app.ResolverActivity\n")
    long = shell.out("cmd package resolve-activity com.sim.shop")
    assert "name=com.sim.shop.HomeActivity" in long and "Shop\n" not in long
    assert "com.sim.settings/.DisplayActivity" in shell.out(
        "cmd package resolve-activity --brief -a android.settings.DISPLAY_SETTINGS"
    )


def test_permissions_are_granted_and_revoked() -> None:
    shell = AndroidShell()
    assert shell("pm grant com.sim.shop android.permission.CAMERA") == ("", "", 0)
    assert "android.permission.CAMERA: granted=true" in shell.out("dumpsys package com.sim.shop")
    assert shell("pm revoke com.sim.shop android.permission.CAMERA").status == 0
    assert "granted=true" not in shell.out("dumpsys package com.sim.shop")
    for words, error in {
        "com.none android.permission.CAMERA": "Unknown package: com.none",
        "com.sim.shop android.permission.FLY": "Unknown permission: android.permission.FLY",
        "com.sim.shop": "no permission specified",
        "": "no package specified",
    }.items():
        answer = shell(f"pm grant {words}")
        assert f"java.lang.IllegalArgumentException: {error}\n" in answer.error and answer.status == 255


def test_clearing_an_app_restores_its_initial_state() -> None:
    shell = AndroidShell()
    fresh = shell.device.state()
    shell("am start sms:Anna; input text hello; input keyevent ENTER")
    shell("pm grant com.sim.messages android.permission.READ_SMS")
    assert shell.device.state()["messages"]["sent"] == {"Anna": ["hello"]}
    assert shell.out("pm clear com.sim.messages") == "Success\n"
    assert shell.device.state() == fresh and shell.device.focus[0] == "com.sim.launcher"
    assert "com.sim.messages" not in shell.out("dumpsys activity recents")
    assert "granted=true" not in shell.out("dumpsys package com.sim.messages")
    assert shell.out(f"pm clear --user 0 {KEYBOARD}") == "Success\n"
    for package in ("com.none", "shop", ""):
        assert shell(f"pm clear {package}").status != 0


def test_every_app_can_be_cleared_from_every_page() -> None:
    shell = AndroidShell()
    for front in ("", "simshop://cart", "sms:Anna", "geo:0,0"):
        for package in shell.device.packages:
            shell(f"am start {front}; pm clear {package}; input keyevent BACK")
            shell.device.screenshot()


def binary_manifest(package: str, version: int = 1, *, test_only: bool = False, utf8: bool = False) -> bytes:
    """Return AndroidManifest.xml in Android's binary format: a string pool, <manifest …>, <application …>."""
    words = ["package", "versionCode", "testOnly", "manifest", "application", package]
    if utf8:
        texts = [bytes((len(word), len(word.encode()))) + word.encode() + b"\0" for word in words]
    else:
        texts = [struct.pack("<H", len(word)) + word.encode("utf-16-le") + b"\0\0" for word in words]
    offsets = [sum(map(len, texts[:k])) for k in range(len(texts))]
    body = b"".join(texts) + bytes(-sum(map(len, texts)) % 4)
    start = 28 + 4 * len(words)
    flags = 1 << 8 if utf8 else 0
    pool = struct.pack("<HHIIIIII", 1, 28, start + len(body), len(words), 0, flags, start, 0)
    pool += struct.pack(f"<{len(words)}I", *offsets) + body

    def element(name: int, *attributes: tuple[int, int, int]) -> bytes:
        head = struct.pack("<HHIII", 0x102, 16, 36 + 20 * len(attributes), 1, 0xFFFFFFFF)
        head += struct.pack("<IIHHHHHH", 0xFFFFFFFF, name, 20, 20, len(attributes), 0, 0, 0)
        typed = (struct.pack("<IIIII", 0xFFFFFFFF, key, raw, 8 | 0x10 << 24, value) for key, raw, value in attributes)
        return head + b"".join(typed)

    none = 0xFFFFFFFF
    xml = pool + element(3, (1, none, version), (0, 5, 5)) + element(4, (2, none, none if test_only else 0))
    return struct.pack("<HHI", 3, 8, 8 + len(xml)) + xml


def make_apk(path: Path, package: str, version: int = 1, *, abi: str = "", **options: bool) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("AndroidManifest.xml", binary_manifest(package, version, **options))
        archive.writestr("classes.dex", b"dex\n035\0")
        if abi:
            archive.writestr(f"lib/{abi}/libx.so", b"\x7fELF")
    return path


@pytest.mark.parametrize("utf8", [False, True])
def test_manifests_are_read(tmp_path: Path, utf8: bool) -> None:
    apk = make_apk(tmp_path / "x.apk", "org.example.app", 12, abi="x86_64", test_only=True, utf8=utf8)
    manifest = read_manifest(apk.read_bytes())
    assert (manifest.package, manifest.version_code, manifest.test_only) == ("org.example.app", 12, True)
    assert manifest.abis == {"x86_64"}


def test_damage_of_an_apk_is_detected_at_every_byte(tmp_path: Path) -> None:
    data = make_apk(tmp_path / "x.apk", "org.example.app").read_bytes()
    for end in range(0, len(data) - 1, 7):
        with pytest.raises(NotApk):
            read_manifest(data[:end])
    for at in range(0, len(data), 3):
        with contextlib.suppress(NotApk):  # a different manifest is possible, another exception is not
            read_manifest(data[:at] + bytes((data[at] ^ 0x55,)) + data[at + 1 :])


FAILURES = [
    ({"package": "org.example.app"}, "", "INSTALL_FAILED_USER_RESTRICTED: a simulated phone runs only"),
    (
        {"package": "com.sim.shop", "version": 2},
        "-r",
        "INSTALL_FAILED_UPDATE_INCOMPATIBLE: Existing package com.sim.shop",
    ),
    ({"package": "com.sim.shop", "version": 0}, "-r", "INSTALL_FAILED_VERSION_DOWNGRADE: "),
    ({"package": "org.example.app", "test_only": True}, "", "INSTALL_FAILED_TEST_ONLY: "),
    ({"package": KEYBOARD, "abi": "mips"}, "", "INSTALL_FAILED_NO_MATCHING_ABIS: "),
    ({"package": KEYBOARD, "version": 3}, "-R", "INSTALL_FAILED_ALREADY_EXISTS: "),
]


@pytest.mark.parametrize(("apk", "options", "failure"), FAILURES)
def test_failed_installations_have_the_messages_of_android(
    tmp_path: Path, apk: dict, options: str, failure: str
) -> None:
    shell = AndroidShell()
    shell.android.files.write("/data/local/tmp/x.apk", make_apk(tmp_path / "x.apk", **apk).read_bytes())
    answer = shell(f"pm install {options} /data/local/tmp/x.apk")
    assert answer.out.startswith(f"Failure [{failure}") and answer.out.endswith("]\n")
    assert (answer.error, answer.status) == ("", 1)


def test_files_that_are_not_apks_are_not_installed() -> None:
    shell = AndroidShell()
    shell.android.files.write("/data/local/tmp/x.apk", b"PK, but not really")
    for line in ("/data/local/tmp/x.apk", "-S 5", "-r -t -S 0 -"):
        assert shell(f"pm install {line}").out.startswith("Failure [INSTALL_PARSE_FAILED_NOT_APK: ")
    missing = shell("pm install /sdcard/no.apk")
    assert "java.lang.IllegalArgumentException: Error: Can't open file: /sdcard/no.apk" in missing.error
    assert shell("pm install --user 10 /data/local/tmp/x.apk").out == "Failure [user 10 doesn't exist]\n"
    for line in ("pm install", "pm install-create", "pm uninstall", "pm install -S many", "pm install --user"):
        assert shell(line).status != 0


@pytest.mark.parametrize("streaming", ["--streaming", "--no-streaming"])
def test_adb_binary_installs_and_uninstalls_apps(
    put_on_wire: Callable[..., ListeningPhone], server: ServerAddress, tmp_path: Path, streaming: str
) -> None:
    listening = put_on_wire(Device())

    def adb(*arguments: str) -> tuple[int, str]:
        command = [adb_path(), "-H", server.host, "-P", str(server.port), "-s", listening.android.serial, *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
        return answer.returncode, answer.stdout + answer.stderr

    keyboard = str(make_apk(tmp_path / "ADBKeyboard.apk", KEYBOARD, 3))
    other = str(make_apk(tmp_path / "other.apk", "org.example.app"))
    adb("shell", f"ime enable {KEYBOARD}/.AdbIME; ime set {KEYBOARD}/.AdbIME")
    assert adb("uninstall", KEYBOARD) == (0, "Success\n")
    assert KEYBOARD not in adb("shell", "pm list packages; ime list -a -s")[1]
    assert adb("shell", "settings get secure default_input_method")[1] == "com.android.inputmethod.latin/.LatinIME\n"
    assert adb("shell", f"ime enable {KEYBOARD}/.AdbIME")[0] == 255
    status, text = adb("install", streaming, keyboard)
    assert status == 0 and "Success\n" in text
    assert adb("shell", f"ime enable {KEYBOARD}/.AdbIME")[0] == 0
    status, text = adb("install", streaming, other)
    assert status == 1 and "Failure [INSTALL_FAILED_USER_RESTRICTED" in text
    for package in ("com.none", "com.sim.settings", "com.sim.shop"):
        status, text = adb("uninstall", package)
        assert status == 1 and "Failure [DELETE_FAILED_" in text
    assert adb("install-multiple", keyboard, other)[0] == 1


def test_adbutils_installs_the_keyboard_and_gets_the_reason_for_a_failure(
    put_on_wire: Callable[..., ListeningPhone], server: ServerAddress, tmp_path: Path
) -> None:
    listening = put_on_wire(Device(), 11)
    device = adbutils.AdbClient(server.host, server.port, socket_timeout=10).device(listening.android.serial)
    device.uninstall(KEYBOARD)
    assert KEYBOARD not in device.list_packages()
    device.install(str(make_apk(tmp_path / "k.apk", KEYBOARD)), silent=True)
    assert KEYBOARD in device.list_packages()
    with pytest.raises(adbutils.errors.AdbInstallError, match="INSTALL_FAILED_USER_RESTRICTED"):
        device.install(str(make_apk(tmp_path / "o.apk", "org.example.app")), silent=True)
