"""am and monkey behave like Android: their outputs by version, and the activities that they open."""

import re

import pytest
from android_shell import VERSIONS, AndroidShell

MAIN = "act=android.intent.action.MAIN cat=[android.intent.category.LAUNCHER]"


@pytest.mark.parametrize("version", VERSIONS)
def test_an_app_starts_by_component_package_or_options(version: int) -> None:
    shell = AndroidShell(version)
    assert shell("am start -n com.sim.shop/.HomeActivity") == (
        "Starting: Intent { cmp=com.sim.shop/.HomeActivity }\n",
        "",
        0,
    )
    assert shell("am start com.android.deskclock/com.android.deskclock.HomeActivity").out == (
        f"Starting: Intent {{ {MAIN} cmp=com.android.deskclock/.HomeActivity }}\n"
    )
    assert shell("am start com.sim.maps").out == f"Starting: Intent {{ {MAIN} pkg=com.sim.maps }}\n"
    launcher = "-a android.intent.action.MAIN -c android.intent.category.LAUNCHER -f 0x10200000"
    assert (
        shell(f"am start {launcher} -n com.sim.music/.HomeActivity").out
        == f"Starting: Intent {{ {MAIN} flg=0x10200000 cmp=com.sim.music/.HomeActivity }}\n"
    )
    assert shell.device.focus[0] == "com.sim.music"
    assert shell("am start -a android.intent.action.MAIN -c android.intent.category.HOME").status == 0
    assert shell.device.focus[0] == "com.sim.launcher"


@pytest.mark.parametrize(
    ("line", "errors"),
    [
        (
            "com.none/.Main",
            "Error type 3\nError: Activity class {com.none/com.none.Main} does not exist.\n",
        ),
        (
            "-n com.sim.shop/.NoActivity",
            "Error type 3\nError: Activity class {com.sim.shop/com.sim.shop.NoActivity} does not exist.\n",
        ),
        (
            "-n com.android.adbkeyboard/.Main",
            "Error type 3\n"
            "Error: Activity class {com.android.adbkeyboard/com.android.adbkeyboard.Main} does not exist.\n",
        ),
        (
            "-a android.settings.NO_SUCH_SETTINGS",
            "Error: Activity not started, unable to resolve Intent { act=android.settings.NO_SUCH_SETTINGS "
            "flg=0x10000000 }\n",
        ),
        (
            "-a android.intent.action.VIEW -d foo:bar",
            "Error: Activity not started, unable to resolve Intent { act=android.intent.action.VIEW dat=foo:bar "
            "flg=0x10000000 }\n",
        ),
        ("--user 10 com.sim.shop", "Error: Activity not started, not allowed for the given user.\n"),
    ],
)
def test_failed_start_is_reported_after_the_first_line(line: str, errors: str) -> None:
    for version in VERSIONS:
        shell = AndroidShell(version)
        answer = shell(f"am start {line}")
        assert answer.out.startswith("Starting: Intent { ") and answer.out.count("\n") == 1
        assert (answer.error, answer.status) == (errors, 1)
        waiting = shell(f"am start -W {line}")  # with -W on standard output
        assert waiting == (answer.out + errors, "", 1)
        assert shell.device.focus[0] == "com.sim.launcher"


def test_link_data_is_hidden_since_android_11() -> None:
    line = "am start -a android.intent.action.VIEW -d 'https://example.org/a/b?c#d'"
    assert "dat=https://example.org/a/b?c#d }" in AndroidShell(9)(line).out
    assert "dat=https://example.org/... }" in AndroidShell(14)(line).out
    assert "dat=tel:xxx }" in AndroidShell(14)("am start tel:123").out
    assert "dat=http://[x/... }" in AndroidShell(14)("am start 'http://[x/y'").out


@pytest.mark.parametrize("version", VERSIONS)
def test_am_start_with_wait_reports_the_launch(version: int) -> None:
    shell = AndroidShell(version)
    cold = shell.out("am start -W com.sim.shop").splitlines()
    state = [] if version == 9 else ["LaunchState: COLD"]
    this = ["ThisTime: 0"] if version == 9 else []
    rest = ["Activity: com.sim.shop/.HomeActivity", *this, "TotalTime: 0", "WaitTime: 1", "Complete"]
    assert cold[1:] == ["Status: ok", *state, *rest]
    again = shell.out("am start -W com.sim.shop").splitlines()
    delivered = "Activity not started, intent has been delivered to currently running top-most instance."
    assert again[1] == f"Warning: {delivered}" and "Status: ok" in again
    assert shell("am start com.sim.shop").error == f"Warning: {delivered}\n"
    shell("input keyevent HOME")
    answer = shell("am start com.sim.shop")
    assert answer.error == "Warning: Activity not started, its current task has been brought to the front\n"
    assert answer.status == 0 and shell.device.focus[0] == "com.sim.shop"
    stopped = shell.out("am start -S com.sim.shop").splitlines()
    assert stopped == ["Stopping: com.sim.shop", f"Starting: Intent {{ {MAIN} pkg=com.sim.shop }}"]


@pytest.mark.parametrize(
    ("intent", "package", "page"),
    [
        ("-a android.settings.SETTINGS", "com.sim.settings", "settings/home"),
        ("-a android.settings.DISPLAY_SETTINGS", "com.sim.settings", "settings/Display"),
        ("-a android.settings.SOUND_SETTINGS", "com.sim.settings", "settings/Sound"),
        ("-n com.sim.settings/.AboutActivity", "com.sim.settings", "settings/About"),
        (
            "-a android.intent.action.VIEW -d https://shop.sim.example/item/Red%20Shoes",
            "com.sim.shop",
            "shop/item/Red Shoes",
        ),
        ("-a android.intent.action.VIEW -d simshop://cart", "com.sim.shop", "shop/cart"),
        ("https://shop.sim.example/", "com.sim.shop", "shop/home"),
        ("-a android.intent.action.SENDTO -d 'smsto:Anna?body=x'", "com.sim.messages", "messages/chat/Anna"),
        ("geo:0,0?q=Oslo", "com.sim.maps", "maps/home"),
    ],
)
def test_links_and_settings_intents_open_their_page(intent: str, package: str, page: str) -> None:
    shell = AndroidShell()
    assert shell(f"am start {intent}").status == 0
    assert (shell.device.focus[0], shell.device.state()["page"]) == (package, page)
    shell.device.screenshot()
    shell("input keyevent BACK")
    assert shell.device.focus[0] in (package, "com.sim.launcher")


@pytest.mark.parametrize(
    "link", ["https://shop.sim.example.org/item/x", "simshop://item/", "sms:", "geo", "https://x/"]
)
def test_links_without_an_app_open_nothing(link: str) -> None:
    shell = AndroidShell()
    assert shell(f"am start -a android.intent.action.VIEW -d {link}").status == 1
    assert shell.device.focus[0] == "com.sim.launcher"


@pytest.mark.parametrize(
    ("line", "exception"),
    [
        ("am start", "java.lang.IllegalArgumentException: No intent supplied"),
        ("am start -n com.sim.shop", "java.lang.IllegalArgumentException: Bad component name: com.sim.shop"),
        ("am start --frobnicate", "java.lang.IllegalArgumentException: Unknown option: --frobnicate"),
        ("am start -f many com.x", 'java.lang.NumberFormatException: For input string: "many"'),
        ("am start -n", 'java.lang.IllegalArgumentException: Argument expected after "-n"'),
        ("am force-stop", 'java.lang.IllegalArgumentException: Argument expected after "force-stop"'),
        ("pm list packages --user", 'java.lang.IllegalArgumentException: Argument expected after "--user"'),
    ],
)
def test_exceptions_print_like_android(line: str, exception: str) -> None:
    verb = line.split()[1]
    service = {"am": "cmd activity", "pm": "cmd package"}[line.split()[0]]
    assert AndroidShell(14)(line.replace(line.split()[0], service, 1)) == AndroidShell(14)(line)
    new, old = AndroidShell(14)(line), AndroidShell(9)(line)
    assert new.error.startswith(f"\nException occurred while executing '{verb}':\n{exception}\n\tat ")
    assert old.error.startswith(f"\nException occurred while executing:\n{exception}\n\tat ")
    assert (new.out, new.status, old.status) == ("", 255, 255)


def test_unexported_activity_is_refused() -> None:
    shell = AndroidShell(14)
    shell("am start simshop://item/Tea")
    shell("input keyevent HOME")
    answer = shell("am start -n com.sim.shop/.ItemActivity")
    assert answer.out == "Starting: Intent { cmp=com.sim.shop/.ItemActivity }\n" and answer.status == 255
    assert "java.lang.SecurityException: Permission Denial: starting Intent { flg=0x10000000 cmp=" in answer.error
    assert "not exported from uid 10" in answer.error


def test_force_stop_prints_nothing_for_known_and_unknown_apps() -> None:
    shell = AndroidShell()
    shell("am start com.sim.shop")
    for line in ("am force-stop com.none", "am force-stop com.sim.shop", "am force-stop --user 0 com.sim.shop"):
        assert shell(line) == ("", "", 0)
    assert shell.device.focus[0] == "com.sim.launcher"
    assert "com.sim.shop" in shell.out("dumpsys activity recents")  # its card stays
    assert "LaunchState: COLD" in shell.out("am start -W com.sim.shop")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_stack_list_names_all_tasks_with_the_front_one_first(version: int) -> None:
    shell = AndroidShell(version)
    shell("am start com.sim.shop; am start com.android.deskclock")
    listed = shell.out("am stack list")
    noun = "RootTask" if version >= 12 else "Stack"
    assert listed.startswith(f"{noun} id=3 bounds=[0,0][112,224] displayId=0 userId=0\n configuration=")
    assert re.findall(r"taskId=\d+: ([\w.]+)/", listed) == ["com.android.deskclock", "com.sim.shop", "com.sim.launcher"]
    assert "topActivity=ComponentInfo{com.android.deskclock/com.android.deskclock.HomeActivity}" in listed
    assert shell("cmd activity stack list").out == listed
    assert shell("am stack remove 2") == ("", "", 0)
    assert "com.sim.shop" not in shell.out("am stack list") and "com.sim.shop" not in shell.out(
        "dumpsys activity recents"
    )
    shell("am stack remove 3")
    assert shell.device.focus[0] == "com.sim.launcher"
    assert shell("am stack remove x").status == shell("am stack foo").status == 255


def test_apps_opened_by_touch_are_in_the_task_list() -> None:
    shell = AndroidShell()
    tile = next(element for element in shell.device.elements() if element.name == "Clock")
    x, y = tile.center(shell.device.size)
    shell(f"input tap {x} {y}")
    shell("input keyevent HOME")
    assert "com.android.deskclock" in shell.out("dumpsys activity recents")
    shell("""cmd simulator reset '{"template": "pay", "parameters": {}, "seed": 3}'""")
    assert "com.android.deskclock" not in shell.out("dumpsys activity recents")


def test_broadcasts_are_reported_as_sent_to_any_package() -> None:
    shell = AndroidShell()
    assert shell.out("am broadcast -a SOME.ACTION -p com.none --es msg x --ei n 3") == (
        "Broadcasting: Intent { act=SOME.ACTION flg=0x400000 pkg=com.none (has extras) }\n"
        "Broadcast completed: result=0\n"
    )
    assert shell.out("am get-current-user") == "0\n"


@pytest.mark.parametrize("verb", ["foo", "instrument", "profile", "start-service", "kill-all"])
def test_unknown_verbs_of_the_services_end_with_255(verb: str) -> None:
    shell = AndroidShell()
    for command in ("am", "pm", "wm", "cmd activity", "cmd package", "cmd window", "cmd uimode", "cmd statusbar"):
        assert shell(f"{command} {verb}") == (f"Unknown command: {verb}\n", "", 255)
        assert shell(command).status == 255 and "commands:" in shell(command).out
    assert shell("cmd nosuch") == ("", "cmd: Can't find service: nosuch\n", 20)
    assert shell("cmd notification post").status == 20


def test_monkey_starts_apps_and_turns_automatic_rotation_on() -> None:
    shell = AndroidShell()
    shell("settings put system accelerometer_rotation 0")
    line = "monkey -p {} -c android.intent.category.LAUNCHER 1"
    for package in ("com.none", "com.android.adbkeyboard", "android"):
        assert shell(line.format(package)) == ("** No activities found to run, monkey aborted.\n", "", 252)
    assert shell.out("settings get system accelerometer_rotation") == "0\n"
    assert shell.out(line.format("com.sim.shop")).startswith("Events injected: 1\n## Network stats: elapsed time=")
    assert shell.device.focus[0] == "com.sim.shop"
    assert shell.out("settings get system accelerometer_rotation") == "1\n"


def test_monkey_ends_with_251_on_a_phone_without_physical_keys() -> None:
    shell = AndroidShell()
    shell.android.hardware.physical_keys = False
    answer = shell("monkey -p com.sim.shop -c android.intent.category.LAUNCHER 1")
    assert answer.status == 251 and shell.device.focus[0] == "com.sim.launcher"
    assert answer.out.startswith("  bash arg: -p\n  bash arg: com.sim.shop\n")
    assert answer.error.startswith("args: [-p, com.sim.shop, ")
    assert answer.error.endswith("** SYS_KEYS has no physical keys but with factor 2.0%.\n")
    assert shell("monkey -p com.sim.shop --pct-syskeys 0 1").status == 0
    assert shell.device.focus[0] == "com.sim.shop"
