"""Apps on real phones open by launcher activity, without `monkey` and without a list of packages."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from scripted_android import SECURITY, ScriptedAndroid

from mobile_r1_jax.agent.actions import Open
from mobile_r1_jax.phones.adb.apps import APP_PACKAGES, plain_name
from mobile_r1_jax.phones.adb.opening import reported_labels
from mobile_r1_jax.phones.adb.phone import AdbPhone
from mobile_r1_jax.phones.phone import PhoneError
from mobile_r1_jax.phones.settings import INSTANT
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed

FOUND = "priority=0 preferredOrder=0 match=0x108000 specificIndex=-1 isDefault=false\n"
WECHAT = "com.tencent.mm/.ui.LauncherUI"
STARTING = f"Starting: Intent {{ act=android.intent.action.MAIN cat=[...] flg=0x10200000 cmp={WECHAT} }}\n"


def installed(*components: str, names_chooser: bool = False) -> Callable[[str], str]:
    """Answer `cmd package resolve-activity` of the installed apps."""

    def answer(line: str) -> str:
        package = line.split()[-1]
        found = next((component for component in components if component.startswith(f"{package}/")), None)
        if found and names_chooser:
            found = "android/com.android.internal.app.ResolverActivity"
        return f"{FOUND}{found}\n" if found else "No activity found\n"

    return answer


def phone_with(
    scripted, *components: str, start: str | Result = STARTING, labels: str = "No activities found\n"
) -> tuple[AdbPhone, ScriptedAndroid]:
    return scripted(
        {
            "am get-current-user": "0\n",
            "am start": start,
            "cmd package query-activities": labels,
            "cmd package resolve-activity": installed(*components),
        }
    )


@pytest.mark.parametrize("name", ["微信", "WeChat", " wechat ", "ＷｅＣｈａｔ", "com.tencent.mm"])
def test_app_is_started_by_its_launcher_activity(scripted, name: str) -> None:
    phone, android = phone_with(scripted, WECHAT)
    assert phone.perform(Open(name)) == ""
    [start] = android.ran("am start")
    assert f"-n {WECHAT} " in start and "-c android.intent.category.LAUNCHER" in start and "--user 0" in start
    assert not android.ran("monkey") and not android.ran("pm")


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("Settings", "com.android.settings/.Settings"),
        ("设置", "com.android.settings/.Settings"),
        ("Chrome", "com.android.chrome/com.google.android.apps.chrome.Main"),
        ("YouTube", "com.google.android.youtube/.app.honeycomb.Shell$HomeActivity"),
        ("Clock", "com.google.android.deskclock/com.android.deskclock.DeskClock"),
        ("clock", "com.android.deskclock/.DeskClock"),
        ("时钟", "com.sec.android.app.clockpackage/.ClockPackage"),
        ("org.example.notes", "org.example.notes/.Main"),
        ("org.example.notes", "org.example.notes/.ErrorExceptionActivity"),
    ],
)
def test_common_apps_have_english_and_chinese_names_and_packages(scripted, name: str, component: str) -> None:
    phone, android = phone_with(scripted, component, start=f"Starting: Intent {{ cmp={component} }}\n")
    assert phone.perform(Open(name)) == ""
    assert f"-n {component} " in android.ran("am start")[0]


def test_every_name_of_the_table_is_normalised_and_has_packages() -> None:
    assert len(APP_PACKAGES) > 150
    for name, packages in APP_PACKAGES.items():
        assert name == plain_name(name) and packages
        assert all(re.fullmatch(r"[A-Za-z]\w*(\.\w+)+", package) for package in packages)


def test_app_that_is_open_or_was_opened_before_takes_one_command(scripted) -> None:
    phone, android = phone_with(
        scripted,
        WECHAT,
        start=Result(((1, STARTING.encode()), (2, b"Warning: Activity not started, its current task ...\n"))),
    )
    for _ in range(3):
        assert phone.perform(Open("微信")) == ""
    assert len(android.ran("cmd package")) == 1 and len(android.ran("am start")) == 3


@pytest.mark.parametrize("name", ["Nowhere", "微信; reboot", "$(reboot)", "com..x", "a/b", "pkg"])
def test_unknown_name_is_reported_and_nothing_is_started(scripted, name: str) -> None:
    phone, android = phone_with(scripted, WECHAT)
    assert "no app is called" in phone.perform(Open(name))
    assert not android.ran("am start") and not android.ran("reboot")


@pytest.mark.parametrize("name", ["淘宝", "Taobao", "com.taobao.taobao", "Netflix"])
def test_missing_app_is_reported(scripted, name: str) -> None:
    phone, android = phone_with(scripted, WECHAT)
    assert "not installed" in phone.perform(Open(name))
    assert not android.ran("am start")


@pytest.mark.parametrize(
    "refusal",
    [
        Result(
            ((1, STARTING.encode()), (2, b"Error: Activity not started, you do not have permission to access it.")), 1
        ),
        Result(((1, STARTING.encode()), (2, b"Error: Activity not started, not allowed for the given user.\n")), 1),
        failed("\nException occurred while executing 'start':\njava.lang.SecurityException: Permission Denial: x", 255),
        printed(f"{STARTING}java.lang.SecurityException: Permission Denial: starting Intent\n", 0),
    ],
)
def test_refused_app_is_reported(scripted, refusal: Result) -> None:
    phone, _ = phone_with(scripted, WECHAT, start=refusal)
    assert "refuses to open" in phone.perform(Open("微信"))


def test_failed_start_is_an_error_with_the_reason_of_the_phone(scripted) -> None:
    error = f"Error type 3\nError: Activity class {{{WECHAT}}} does not exist.\n".encode()
    phone, _ = phone_with(scripted, WECHAT, start=Result(((1, STARTING.encode()), (2, error)), 1))
    with pytest.raises(PhoneError, match="LauncherUI} does not exist"):
        phone.perform(Open("微信"))


def test_renamed_activity_of_an_updated_app_is_found(scripted) -> None:
    phone, android = phone_with(scripted, WECHAT)
    phone.perform(Open("微信"))
    new = "com.tencent.mm/.Main"
    android.answers["cmd package resolve-activity"] = installed(new)
    android.answers["am start"] = lambda line: (
        STARTING if new in line else failed(f"Error: Activity class {{{WECHAT}}} does not exist.")
    )
    assert phone.perform(Open("微信")) == ""
    assert new in android.lines[-1]


def test_first_launcher_activity_of_the_app_is_started(scripted) -> None:
    listed = "com.android.settings/.Other\ncom.tencent.mm/.First\ncom.tencent.mm/.Second\n"
    phone, android = scripted(
        {
            "cmd package resolve-activity": installed(WECHAT, names_chooser=True),
            "cmd package query-activities": lambda line: listed if "--components" in line else "",
            "am start": STARTING,
        }
    )
    assert phone.perform(Open("微信")) == ""
    assert "-n com.tencent.mm/.First " in android.ran("am start")[0]


QUERIED = """2 activities found:
  Activity #0:
    priority=0 preferredOrder=0 match=0x108000 specificIndex=-1 isDefault=true
    ActivityInfo:
      name=com.acme.notes.Main
      packageName=com.acme.notes
      labelRes=0x0 nonLocalizedLabel=My Notes icon=0x7f0c0001 banner=0x0
      ApplicationInfo:
        packageName=com.acme.notes
        labelRes=0x7f0c0040 nonLocalizedLabel=null icon=0x7f0c0001 banner=0x0
  Activity #1:
    priority=0 preferredOrder=0 match=0x108000 specificIndex=-1 isDefault=true
    ActivityInfo:
      name=com.acme.mail.Main
      packageName=com.acme.mail
      labelRes=0x7f0c0040 nonLocalizedLabel=null icon=0x0 banner=0x0
"""


def test_labels_reported_by_the_phone_are_names(scripted) -> None:
    assert reported_labels(QUERIED) == {"My Notes": "com.acme.notes"}
    phone, android = phone_with(scripted, "com.acme.notes/.Main", labels=QUERIED)
    for name in ("my notes", "MY  NOTES", "My Notes"):
        assert phone.perform(Open(name)) == ""
    assert len(android.ran("cmd package query-activities")) == 1


@pytest.mark.parametrize(
    ("label", "name"),
    [("Clock", "时钟"), ("闹钟", "clock"), ("Files", "文件管理"), ("图库", "Gallery"), ("相册", "图库")],
)
def test_label_in_another_language_is_a_name_of_the_app(scripted, label: str, name: str) -> None:
    labels = QUERIED.replace("nonLocalizedLabel=My Notes", f"nonLocalizedLabel={label}")
    phone, android = phone_with(scripted, "com.acme.notes/.Main", labels=labels)
    assert phone.perform(Open(name)) == "" and "com.acme.notes/.Main" in android.ran("am start")[0]


@pytest.mark.parametrize("status", [255, 0])  # 0: Galaxy, Android 16
def test_apps_open_for_the_current_user_despite_a_secure_folder_or_work_profile(scripted, status: int) -> None:
    def for_user(answer: Callable[[str], str]) -> Callable[[str], str | Result]:
        return lambda line: answer(line) if "--user 10" in line else printed(f"Error: {SECURITY}\n", status)

    phone, android = scripted(
        {
            "am get-current-user": "10\n",
            "pm list packages": for_user(lambda line: "package:com.tencent.mm\n"),
            "cmd package resolve-activity": for_user(installed(WECHAT)),
            "am start": for_user(lambda line: STARTING),
        }
    )
    assert phone.perform(Open("微信")) == ""
    assert len(android.ran("am start")) == 1


ICONS = """<?xml version='1.0' encoding='UTF-8' standalone='yes' ?><hierarchy rotation="0">
<node text="" content-desc="Home" bounds="[0,0][112,224]"><node text="Shop" content-desc="" bounds="[10,20][30,60]" />
<node text="" content-desc="我的 记事本" bounds="[50,20][70,60]" />
<node text="Wallet" content-desc="" bounds="[80,20][100,60]" />
<node text="相册" content-desc="" bounds="[80,50][100,70]" /></node></hierarchy>"""


@pytest.mark.parametrize(
    ("name", "tap", "effect"),
    [
        ("shop", ["input tap 20 40"], ""),
        ("我的  记事本", ["input tap 60 40"], ""),
        ("Gallery", ["input tap 90 60"], ""),  # its icon has the Chinese name
        ("图库", ["input tap 90 60"], ""),
        ("Shopping", [], "no app is called 'Shopping'"),
        ("Wallet", ["input tap 90 40"], ""),  # of an unknown package
        ("Netflix", [], "'Netflix' is not installed, or has nothing to open"),
        ("", [], "no app is called ''"),
    ],
)
def test_other_labels_are_found_on_the_home_screen(scripted, name: str, tap: list[str], effect: str) -> None:
    answers = {"uiautomator": "", "cat": ICONS, "cmd package query-activities": "No activities found\n"}
    phone, android = scripted(answers, timings=replace(INSTANT, front=0.1))
    assert phone.perform(Open(name)) == effect
    assert android.ran("input tap") == tap and android.ran("input keyevent KEYCODE_HOME")
    phone, android = scripted(answers)
    assert phone.perform(Open(name)) != ""
    assert not android.ran("input")


WINDOWS = "  mCurrentFocus=Window{5e9b13b u0 %s}\n"


@pytest.mark.parametrize(
    "front",
    [
        "com.tencent.mm/com.tencent.mm.ui.LauncherUI",
        "com.android.permissioncontroller/com.android.permissioncontroller.permission.ui.GrantPermissionsActivity",
        "Application Not Responding: com.tencent.mm",
    ],
)
def test_open_waits_until_the_app_or_a_dialog_is_in_front(scripted, front: str) -> None:
    focus = iter(["  mCurrentFocus=null\n", WINDOWS % "com.acme.home/com.acme.home.Launcher", WINDOWS % front])
    phone, _ = scripted(
        {
            "cmd package resolve-activity": installed(WECHAT),
            "am start": STARTING,
            "dumpsys window": lambda line: next(focus),
        },
        timings=replace(INSTANT, front=5),
    )
    assert phone.perform(Open("微信")) == ""
    assert next(focus, None) is None


def test_wait_for_an_app_that_never_appears_is_bounded(scripted) -> None:
    phone, android = scripted(
        {
            "cmd package resolve-activity": installed(WECHAT),
            "am start": STARTING,
            "dumpsys window": WINDOWS % "com.acme.home/com.acme.home.Launcher",
        },
        timings=replace(INSTANT, front=0.3),
    )
    assert phone.perform(Open("微信")) == ""
    assert 1 <= len(android.ran("dumpsys window")) <= 3
