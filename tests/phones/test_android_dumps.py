"""dumpsys, wm, uiautomator and screencap behave like Android, by version."""

import io
import re
from xml.etree import ElementTree

import pytest
from android_shell import VERSIONS, AndroidShell
from PIL import Image

from mobile_r1_jax.phones.simulator.android.commands import COMMANDS

NAMES = [
    "index",
    "text",
    "resource-id",
    "class",
    "package",
    "content-desc",
    "checkable",
    "checked",
    "clickable",
    "enabled",
    "focusable",
    "focused",
    "scrollable",
    "long-clickable",
    "password",
    "selected",
    "bounds",
]


def opened(version: int, *apps: str) -> AndroidShell:
    shell = AndroidShell(version)
    for app in apps:
        package = next(name for name, label in shell.device.packages.items() if label.lower() == app)
        shell(f"am start {package}")
    return shell


@pytest.mark.parametrize(
    ("version", "front", "home"),
    [
        (
            9,
            r"TaskRecord\{\w+ #3 A=com.android.deskclock U=0 StackId=1 sz=1\}",
            r"TaskRecord\{\w+ #1 A=com.sim.launcher U=0 StackId=0",
        ),
        (
            10,
            r"TaskRecord\{\w+ #3 A=\d+:com.android.deskclock U=0 StackId=1 sz=1\}",
            r"TaskRecord\{\w+ #1 A=\d+:com.sim.launcher U=0",
        ),
        (
            11,
            r"Task\{\w+ #3 .*A=\d+:com.android.deskclock U=0 StackId=1 sz=1\}",
            r"Task\{\w+ #1 .*type=home .*I=com.sim.launcher/",
        ),
        (
            12,
            r"Task\{\w+ #3 type=standard A=\d+:com.android.deskclock U=0 visible=true .*sz=1\}",
            r"Task\{\w+ #1 type=home I=com",
        ),
        (
            14,
            r"Task\{\w+ #3 type=standard A=\d+:com.android.deskclock U=0 visible=true .*sz=1\}",
            r"Task\{\w+ #1 type=home I=com",
        ),
        (
            16,
            r"Task\{\w+ #3 type=standard A=\d+:com.android.deskclock\}",
            r"Task\{\w+ #1 type=home I=com.sim.launcher/.HomeActivity\}",
        ),
    ],
)
def test_recents_have_the_format_of_the_version(version: int, front: str, home: str) -> None:
    shell = opened(version, "camera", "clock")
    lines = shell.out("dumpsys activity recents").splitlines()
    assert lines[0] == "ACTIVITY MANAGER RECENT TASKS (dumpsys activity recents)"
    recents = [line for line in lines if line.startswith("  * Recent #")]
    assert re.search(rf"^  \* Recent #0: {front}$", recents[0])
    assert re.search(rf"^  \* Recent #2: {home}", recents[2])
    assert ".MainActivity" in recents[1]  # an affinity that is not a package
    component = "realActivity" if version <= 10 else "mActivityComponent"
    assert f"    {component}=com.sim.camera/.HomeActivity" in lines
    if version > 10:
        assert "    topActivity={com.android.deskclock/com.android.deskclock.HomeActivity}" in lines
    shell("input keyevent HOME")
    assert "com.android.deskclock" in shell.out("dumpsys activity recents")


@pytest.mark.parametrize("version", VERSIONS)
def test_resumed_activity_has_the_format_of_the_version(version: int) -> None:
    shell = opened(version, "shop")
    dump = shell.out("dumpsys activity activities")
    record = r"ActivityRecord\{\w+ u0 com.sim.shop/.HomeActivity t2\}"
    assert bool(re.search(rf"^    mResumedActivity: {record}$", dump, re.MULTILINE)) == (version <= 11)
    assert bool(re.search(rf"^    topResumedActivity={record}$", dump, re.MULTILINE)) == (version >= 12)
    assert bool(re.search(rf"^  ResumedActivity: {record}$", dump, re.MULTILINE)) == (version <= 12)
    assert bool(re.search(rf"^    Resumed: {record}$", dump, re.MULTILINE)) == (version >= 13)
    if version >= 12:
        assert re.search(r"^  \* Task\{\w+ #2 type=standard ", dump, re.MULTILINE)
        assert re.search(rf"^    \* Hist  #0: {record}$", dump, re.MULTILINE)


@pytest.mark.parametrize("version", VERSIONS)
def test_focus_is_in_the_section_of_the_version(version: int) -> None:
    shell = opened(version, "shop")
    focus = "mCurrentFocus=Window{"
    assert (focus in shell.out("dumpsys window windows")) == (version == 9)
    assert (focus in shell.out("dumpsys window displays")) == (version >= 10)
    whole = shell.out("dumpsys window")
    assert re.search(r"^  mCurrentFocus=Window\{\w+ u0 com.sim.shop/com.sim.shop.HomeActivity\}$", whole, re.MULTILINE)
    plain = r"ActivityRecord\{\w+ u0 com.sim.shop/.HomeActivity t2\}"
    form = rf"AppWindowToken\{{\w+ token=Token\{{\w+ {plain}\}}\}}" if version == 9 else plain
    assert re.search(rf"^  mFocusedApp={form}$", whole, re.MULTILINE)
    assert "init=112x224 120dpi cur=112x224 app=112x224" in whole
    assert ("isKeyguardShowing=false" in whole) == (version >= 10)
    assert "mIsShowing=false" in whole and "mInputRestricted=false" in whole
    assert shell("dumpsys window nosuch").status == shell("dumpsys activity nosuch").status == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_a_locked_phone_shows_its_keyguard_until_it_is_dismissed(version: int) -> None:
    shell = opened(version, "shop")
    shell.device._state.locked = True
    shade = "NotificationShade" if version >= 11 else "StatusBar"
    assert f"u0 {shade}}}" in shell.out("dumpsys window")
    policy = shell.out("dumpsys window policy")
    assert "mIsShowing=true" in policy and "mInputRestricted=true" in policy
    assert "com.sim.shop" not in shell.out("uiautomator dump /dev/tty")
    assert shell("wm dismiss-keyguard") == ("", "", 0)
    assert "mIsShowing=false" in shell.out("dumpsys window policy")


def test_sleeping_phone_is_asleep_in_every_dump() -> None:
    shell = AndroidShell()
    shell("input keyevent SLEEP")
    assert "mWakefulness=Asleep" in shell.out("dumpsys power")
    assert "mScreenState=OFF" in shell.out("dumpsys display") and "mScreenState=ON" not in shell.out("dumpsys display")
    assert "mAwake=false" in shell.out("dumpsys window displays") and "Resumed" not in shell.out("dumpsys activity a")
    dump = shell("uiautomator dump")
    assert dump == ("", "ERROR: null root node returned by UiTestAutomationBridge.\n", 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_service_dumps_have_the_lines_that_tools_parse(version: int) -> None:
    shell = opened(version, "shop")
    lines = {
        "power": r"^  mWakefulness=Awake$",
        "display": r"DisplayViewport\{type=INTERNAL, .*displayId=0, uniqueId='local:\d{19}', .*orientation=0, ",
        "input": r"InputDeviceOrientation: 0$" if version >= 12 else r"SurfaceOrientation: 0$",
        "input_method": r"^  mCurId=com.android.inputmethod.latin/.LatinIME mHaveConnection=true mBoundToMethod=true$",
        "trust": r'^ User "Owner" \(id=0, flags=0x4c13\) \(current\): trustState=UNTRUSTED, .*deviceLocked=0',
        "alarm": r"^  Next alarm clock information:$",
        "telephony.registry": r"mCallState=0$",
        "SurfaceFlinger --display-id": r'^Display \d{19} \(HWC display 0\): port=0 pnpId=GGL displayName=".+"$',
        "battery": r"^  level: 100$",
        "package com.sim.shop": r"^  Package \[com.sim.shop\] \(",
        "-t 15 battery": "^Current Battery Service state:$",
    }
    if version == 9:
        assert shell("dumpsys SurfaceFlinger --display-id").status == 1
        del lines["SurfaceFlinger --display-id"]
    for service, expected in lines.items():
        assert re.search(expected, shell.out(f"dumpsys {service}"), re.MULTILINE), service
    assert ("Dock powered" in shell.out("dumpsys battery")) == (version >= 13)
    for service in ("nosuch", "meminfo", "notification"):
        assert shell(f"dumpsys {service}") == ("", f"Can't find service: {service}\n", 1)


def test_the_battery_can_be_unplugged_and_reset() -> None:
    shell = AndroidShell()
    shell("dumpsys battery unplug; dumpsys battery set level 7")
    dump = shell.out("dumpsys battery")
    assert "USB powered: false" in dump and "level: 7" in dump
    shell("dumpsys battery reset")
    assert "USB powered: true" in shell.out("dumpsys battery") and "level: 100" in shell.out("dumpsys battery")
    for wrong in ("set", "set volts 7", "set level x", "explode"):
        assert shell(f"dumpsys battery {wrong}").status == 1


def test_the_screen_takes_another_size_and_density() -> None:
    shell = AndroidShell(size=(108, 240))
    assert shell.out("wm size") == "Physical size: 108x240\n"
    assert shell("wm size 72x160") == ("", "", 0)
    assert shell.out("wm size") == "Physical size: 108x240\nOverride size: 72x160\n"
    assert Image.open(io.BytesIO(shell.device.screenshot())).size == (72, 160)
    assert "base=72x160" in shell.out("dumpsys window displays")
    for size in ("72", "axb", "72x", "0x0", "-1x5", "99999x1"):
        answer = shell(f"wm size {size}")
        assert answer.error.startswith(f"Error: bad size {size}") and answer.status == 255
    assert shell("wm size reset") == ("", "", 0) and shell.out("wm size") == "Physical size: 108x240\n"
    assert shell("wm density 40") == ("", "Error: density must be >= 72\n", 255)
    assert shell("wm density 240").status == 0
    assert shell.out("wm density") == "Physical density: 120\nOverride density: 240\n"
    assert shell("wm density many").status == 255 and shell("wm density reset").status == 0
    assert shell.out("wm density") == "Physical density: 120\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_rotation_is_locked_by_the_command_of_the_version(version: int) -> None:
    shell = AndroidShell(version)
    if version == 9:
        assert shell("wm user-rotation lock 0") == ("Unknown command: user-rotation\n", "", 255)
        return
    shell("settings put system accelerometer_rotation 1")
    assert shell.out("wm user-rotation") == "free\n"
    for line, expected in (("lock 1", "lock 1"), ("-d 0 lock 3", "lock 3"), ("free", "free"), ("lock", "lock 0")):
        assert shell(f"wm user-rotation {line}") == ("", "", 0)
        assert shell.out("wm user-rotation") == f"{expected}\n"
    assert shell.out("settings get system accelerometer_rotation") == "0\n"
    assert "mUserRotationMode=USER_ROTATION_LOCKED mUserRotation=ROTATION_0" in shell.out("dumpsys window displays")
    assert shell("wm user-rotation lock 9").status == shell("wm user-rotation turn").status == 255
    assert AndroidShell(10)("wm set-user-rotation lock 0").status == 0


def test_nodes_have_all_attributes_in_androids_order() -> None:
    shell = opened(14, "settings")
    xml = shell.out("uiautomator dump --compressed /dev/tty")
    assert xml.endswith("</hierarchy>UI hierchary dumped to: /dev/tty\n")
    nodes = list(ElementTree.fromstring(xml.partition("UI hierchary")[0]).iter("node"))
    assert len(nodes) > 5 and all(list(node.attrib) == NAMES for node in nodes)
    assert nodes[0].get("scrollable") == "true" and nodes[0].get("bounds") == "[0,0][112,224]"
    assert any(node.get("resource-id", "").startswith("com.sim.settings:id/switch_") for node in nodes)
    assert all(node.get("focusable") == node.get("clickable") for node in nodes)
    shell("am start sms:Anna")
    fields = [
        node
        for node in ElementTree.fromstring(shell.out("uiautomator dump /dev/tty").partition("UI h")[0]).iter()
        if node.get("focused") == "true"
    ]
    assert [node.get("class") for node in fields] == ["android.widget.EditText"]


@pytest.mark.parametrize(
    "text", ["\x00\x07\x1b", "a<b>&\"'", "\ud800", "\ufffe\uffff", "tab\tline\nend", "红色 👍🏽", "]]>"]
)
def test_no_text_breaks_the_tree(text: str) -> None:
    shell = AndroidShell()
    shell("am start sms:Anna")
    shell.device.type_text(text)
    shell.out("uiautomator dump")
    xml = shell.android.files.read("/sdcard/window_dump.xml").decode()
    shown = [node.get("text") for node in ElementTree.fromstring(xml).iter("node")]
    assert re.sub("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]", ".", text) in shown


def test_dump_to_an_unwritable_path_looks_like_a_success() -> None:
    shell = AndroidShell()
    assert shell.out("uiautomator dump /system/x.xml") == "UI hierchary dumped to: /system/x.xml\n"
    assert "failed to dump the window" in shell.out("logcat -d -b main")
    assert shell("uiautomator events").status == 1


def picture(shell: AndroidShell, line: str) -> bytes:
    answer = [data for to, data in shell.android.run(COMMANDS["screencap"], line.split(), b"").chunks if to == 1]
    return b"".join(answer)


@pytest.mark.parametrize("version", VERSIONS)
def test_phone_with_several_displays_shows_apps_on_the_active_one(version: int) -> None:
    shell = AndroidShell(version)
    shell.android.hardware.displays = {"4619827259835644672": False, "4619827551948147201": True}
    if version > 9:
        listed = shell.out("dumpsys SurfaceFlinger --display-id")
        assert re.findall(r"^Display (\d+) ", listed, re.MULTILINE) == list(shell.android.hardware.displays)
    names = ["0", "1"] if version == 9 else list(shell.android.hardware.displays)
    first, second = picture(shell, f"-p -d {names[0]}"), picture(shell, f"-p -d {names[1]}")
    assert Image.open(io.BytesIO(first)).convert("L").getextrema() == (0, 0)
    assert second == shell.device.screenshot()
    answer = shell("screencap -p")
    warned = "[Warning] Multiple displays were found, but no display id was specified! Defaulting to the first"
    assert answer.error.startswith(warned) == (version > 10) and picture(shell, "-p") == first
    wrong = shell("screencap -p -d 2")
    assert wrong.status == 1 and ("Status: -2" in wrong.error if version < 14 else "Capturing failed." in wrong.error)
    assert shell.out("dumpsys display").count("mScreenState=ON") == 1
