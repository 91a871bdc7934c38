"""svc, `cmd SERVICE`, content and logcat behave like Android."""

import re
import shlex
import subprocess
import time

import pytest
from android_shell import VERSIONS, AndroidShell

from mobile_r1_jax.phones.adb.server import adb_path
from mobile_r1_jax.phones.adb.stream import ServerAddress
from mobile_r1_jax.phones.providers.simulated import SimulatedPhone


@pytest.mark.parametrize(
    ("line", "namespace", "key", "value"),
    [
        ("svc wifi disable", "global", "wifi_on", "0"),
        ("svc data enable", "global", "mobile_data", "1"),
        ("svc bluetooth enable", "global", "bluetooth_on", "1"),
        ("svc power stayon true", "global", "stay_on_while_plugged_in", "7"),
        ("svc power stayon usb", "global", "stay_on_while_plugged_in", "2"),
        ("cmd wifi set-wifi-enabled disabled", "global", "wifi_on", "0"),
        ("cmd phone data disable", "global", "mobile_data", "0"),
        ("cmd bluetooth_manager disable", "global", "bluetooth_on", "0"),
        ("cmd connectivity airplane-mode enable", "global", "airplane_mode_on", "1"),
        ("cmd location set-location-enabled true", "secure", "location_mode", "3"),
    ],
)
def test_switches_change_the_settings_of_android(line: str, namespace: str, key: str, value: str) -> None:
    shell = AndroidShell()
    assert shell(line) == ("", "", 0)
    assert shell.out(f"settings get {namespace} {key}") == f"{value}\n"


@pytest.mark.parametrize("line", ["", "nfc enable", "wifi", "wifi on", "power", "power stayon maybe", "usb x"])
def test_svc_with_unknown_arguments_prints_usage_and_fails(line: str) -> None:
    answer = AndroidShell()(f"svc {line}")
    assert answer.error.startswith("Available commands:") and answer.status == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_services_have_their_commands_since_their_version(version: int) -> None:
    shell = AndroidShell(version)
    shell("settings put global wifi_on 1; settings put global airplane_mode_on 0; settings put secure location_mode 3")

    def told(line: str, since: int, expected: str) -> None:
        answer = shell(line)
        assert answer == ((expected, "", 0) if version >= since else (f"Unknown command: {line.split()[2]}\n", "", 255))

    told("cmd uimode night yes", 10, "Night mode: yes\n")
    told("cmd uimode night", 10, "Night mode: yes\n")
    told("cmd connectivity airplane-mode", 11, "disabled\n")
    told("cmd wifi status", 11, "Wifi is enabled\n")
    told("cmd location is-location-enabled", 11, "true\n")
    assert shell("cmd statusbar collapse") == ("", "", 0)
    assert shell("cmd statusbar expand-notifications").status == 255
    assert shell("cmd uimode night perhaps").status == 255


@pytest.mark.parametrize("command", ["cmd media_session", "media"])
def test_music_volume_equals_the_volume_of_the_phone(command: str) -> None:
    shell = AndroidShell()
    assert shell.out(f"{command} volume --stream 3 --get").splitlines() == [
        "[V] will control stream=3 (STREAM_MUSIC)",
        "[V] will get volume",
        "[V] Connecting to AudioService",
        "[V] volume is 5 in range [0..15]",
    ]
    shell(f"{command} volume --stream 3 --set 12; {command} volume --adj lower; input keyevent VOLUME_DOWN")
    assert shell.device.state()["volume"] == 10
    for wrong in ("--set 16", "--set x", "--set", "--adj up", "--stream 11 --get", "--stream -1 --get", "--loud"):
        assert shell(f"{command} volume {wrong}").status == 255
    assert AndroidShell(9).out(f"{command} volume --get").endswith("[v] volume is 5 in range [0..15]\n")


@pytest.mark.parametrize(
    ("stream", "name", "low", "high"),
    [(0, "VOICE_CALL", 1, 5), (1, "SYSTEM", 0, 7), (2, "RING", 0, 7), (4, "ALARM", 1, 7), (5, "NOTIFICATION", 0, 7)],
)
def test_other_streams_have_separate_volumes(stream: int, name: str, low: int, high: int) -> None:
    shell = AndroidShell()
    line = f"media volume --stream {stream}"
    assert shell.out(f"{line} --get").startswith(f"[V] will control stream={stream} (STREAM_{name})\n")
    assert shell.out(f"{line} --set {high} --get").endswith(f"[V] volume is {high} in range [{low}..{high}]\n")
    shell(f"{line} --adj raise; {line} --adj lower; {line} --adj lower; {line} --adj same")
    assert f"volume is {high - 2} in" in shell.out(f"{line} --get")
    refused = f"Error: invalid volume index {high + 1} for stream {stream} (should be in [{low}..{high}])\n"
    assert shell(f"{line} --set {high + 1}").out.endswith(refused)
    assert "volume is 5 in" in shell.out("media volume --get") and shell.device.state()["volume"] == 5


def test_sent_messages_are_in_the_sms_provider() -> None:
    shell = AndroidShell()
    assert shell.out("content query --uri content://sms/sent") == "No result found.\n"
    for name, text in (("Anna", "hello, you"), ("Bob", "it's late")):
        shell.device.open(f"messages/chat/{name}")
        shell.device.type_text(text)
        shell.device.key("ENTER")
    query = "content query --uri content://sms/sent"
    assert [re.sub(r"date=\d{13}", "date=D", line) for line in shell.out(query).splitlines()] == [
        "Row: 0 _id=1, date=D, address=Anna, type=2, body=hello, you",
        "Row: 1 _id=2, date=D, address=Bob, type=2, body=it's late",
    ]
    assert shell.out(f"{query} --projection address:body --sort '_id DESC'").splitlines()[0] == (
        "Row: 0 address=Bob, body=it's late"
    )
    assert shell.out(f"""{query} --where "body='it''s late' AND type=2" --projection _id""") == "Row: 0 _id=2\n"
    assert shell.out("content query --uri content://sms/inbox") == "No result found.\n"


@pytest.mark.parametrize(
    "where",
    ["date>$(cat /sdcard/start)000", "date >= $(cat /sdcard/start)000 AND body LIKE 'ne%'", "_id=2", "_id IN (2, 9)"],
)
def test_message_has_the_time_of_sending(where: str) -> None:
    shell, send = AndroidShell(), "am start -d sms:{}; input text {}; input keyevent ENTER; date +%s >/sdcard/start"
    shell(send.format("Carl", "old"))
    time.sleep(1.1)
    shell("date +%s >/sdcard/start")
    shell("am start -d sms:Carl; input text new; input keyevent ENTER")
    query = f'content query --uri content://sms/sent --projection address:body --where "{where}"'
    assert shell.out(query) == "Row: 0 address=Carl, body=new\n"
    shell.out("cmd simulator task send Anna Hello")  # the messages are gone, and so are their times
    assert shell.out(query) == "No result found.\n"


def test_contacts_are_inserted_found_changed_and_deleted() -> None:
    shell, uri = AndroidShell(), "content://com.android.contacts"
    for at, (name, number) in enumerate((("Mia", "555 0123"), ("王芳", "555-0178"), ("O'Hara", "1")), start=1):
        shell.out(f"content insert --uri {uri}/raw_contacts --bind account_type:n: --bind account_name:n:")
        for mimetype, value in (("name", name), ("phone_v2", number)):
            value = shlex.quote(f"data1:s:{value}")
            kind = f"--bind mimetype:s:vnd.android.cursor.item/{mimetype}"
            shell.out(f"content insert --uri {uri}/data --bind raw_contact_id:i:{at} {kind} --bind {value}")
    phones = f"content query --uri {uri}/data/phones --projection display_name:data1"
    assert shell.out(phones).splitlines()[:2] == [
        "Row: 0 display_name=Mia, data1=555 0123",
        "Row: 1 display_name=王芳, data1=555-0178",
    ]
    older = 'content query --uri content://contacts/phones/ --projection display_name:number --sort "number DESC"'
    assert shell.out(older).splitlines()[0] == "Row: 0 display_name=王芳, number=555-0178"
    shell.out(f"content update --uri {uri}/contacts --bind starred:i:1 --where \"display_name='O''Hara'\"")
    starred = f"content query --uri {uri}/contacts --where starred=1"
    assert shell.out(starred) == (
        "Row: 0 _id=3, account_name=NULL, account_type=NULL, display_name=O'Hara, starred=1\n"
    )
    shell.out(f"content delete --uri {uri}/raw_contacts --where \"display_name='Mia'\"")
    assert "Mia" not in shell.out(phones) and len(shell.out(phones).splitlines()) == 2
    assert shell.out("pm clear com.android.providers.contacts") == "Success\n"
    assert shell.out(phones) == "No result found.\n"


@pytest.mark.parametrize(
    "condition",
    ["1 = (WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n)",
     "length(randomblob(2000000000)) > 1", "1) ; DROP TABLE raw_contacts; --", "load_extension('x')"],
)  # fmt: skip
def test_no_query_condition_blocks_the_phone(condition: str) -> None:
    shell, uri = AndroidShell(), "content://com.android.contacts/raw_contacts"
    shell.out(f"content insert --uri {uri}")
    for table in (uri, "content://settings/system"):
        answer = shell(f'content query --uri {table} --where "{condition}"')
        assert answer.error.startswith("Error while accessing provider:") and answer.status == 1
    assert shell.out(f"content query --uri {uri} --projection _id") == "Row: 0 _id=1\n"


@pytest.mark.parametrize(
    ("hour", "minutes", "shown"), [(6, 45, "06:45"), (0, 0, "00:00"), (23, 59, "23:59"), (7, "", "07:00")]
)
def test_next_alarm_is_reported(hour: int, minutes: int | str, shown: str) -> None:
    shell, extra = AndroidShell(), "android.intent.extra.alarm"
    assert shell.out("dumpsys alarm").endswith("Next alarm clock information:\n")
    chosen = f"--ei {extra}.HOUR {hour}" + (f" --ei {extra}.MINUTES {minutes}" if minutes != "" else "")
    front = shell.device.focus
    started = shell.out(f"am start -W -a android.intent.action.SET_ALARM {chosen} --ez {extra}.SKIP_UI true")
    assert "Status: ok" in started and shell.device.focus == front
    told = re.search(r"^    user:0 pendingSend:false time:(\d+)000 = (\S+ \S+)$", shell.out("dumpsys alarm"), re.M)
    assert told[2] == time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(int(told[1]))) and told[2].endswith(f" {shown}:00")
    assert 0 < int(told[1]) - time.time() <= 86400
    shell(f"am start -a android.intent.action.SET_ALARM {chosen}")
    assert shell.device.focus[0] == "com.android.deskclock"
    name = next(element for element in shell.device.elements() if element.name == shown)
    shell("input tap {} {}".format(*name.center(shell.device.size)))
    assert shown not in shell.out("dumpsys alarm")
    assert shell.out("pm clear com.android.deskclock") == "Success\n" and not shell.device.alarms


def test_typed_alarm_is_set_and_the_next_alarm_is_reported() -> None:
    shell = AndroidShell()
    for name in ("6:45", "Tea", "24:00", "6:5", "12:61"):
        shell.device.open("clock/new")
        shell.device.type_text(name)
        keep = next(element for element in shell.device.elements() if element.name == "Keep")
        shell.device.tap(*keep.center(shell.device.size))
    assert shell.device.alarms == ["06:45"]
    for hour in range(24):
        shell(f"am start -a android.intent.action.SET_ALARM --ei android.intent.extra.alarm.HOUR {hour}")
    assert 0 < int(re.search(r"time:(\d+)000 =", shell.out("dumpsys alarm"))[1]) - time.time() <= 3600


def test_settings_are_in_the_settings_provider() -> None:
    shell = AndroidShell()
    line = "content query --uri content://settings/system --projection value --where \"name='screen_brightness'\""
    assert shell.out(line) == "Row: 0 value=102\n"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("query --uri content://call_log/calls", "Error while accessing provider:call_log\n"),
        ("query --uri content://settings/nothing", "Error while accessing provider:settings\n"),
        ("query --uri content://settings/system --projection colour", "Error while accessing provider:settings\n"),
        ("query --uri content://settings/system --where 'name like x'", "Error while accessing provider:settings\n"),
        ("query --uri content://settings/system --sort 'name; drop'", "Error while accessing provider:settings\n"),
        ("query --uri sms", "[ERROR] Content provider URI not specified."),
        ("query", "[ERROR] Content provider URI not specified."),
        ("query --uri", "[ERROR] No value for argument: --uri"),
        ("query --colour x", "[ERROR] Unsupported argument: --colour"),
        ("delete --uri content://sms", "Error while accessing provider:sms\n"),
        ("insert --uri content://settings/system --bind name:s:x", "Error while accessing provider:settings\n"),
        (
            "insert --uri content://com.android.contacts/data/phones --bind number:s:1",
            "Error while accessing provider:",
        ),
        ("update --uri content://com.android.contacts/data --bind x:i:1", "Error while accessing provider:com.android"),
        ("insert --uri content://com.android.contacts/data --bind data1:i:x", "[ERROR] Not a number: x"),
        ("insert --uri content://com.android.contacts/data --bind data1", "[ERROR] Unsupported type: "),
        ("call --uri content://sms", "[ERROR] Unsupported operation: call"),
        ("", "[ERROR] Unsupported operation: "),
    ],
)
def test_missing_content_fails_with_the_messages_of_android(line: str, error: str) -> None:
    answer = AndroidShell()(f"content {line}")
    assert answer.error.startswith(error) and answer.out == "" and answer.status != 0


def test_log_contains_started_activities() -> None:
    shell = AndroidShell()
    assert shell.out("logcat -d") == ""
    shell("am start com.sim.shop; am start com.android.deskclock")
    whole = shell.out("logcat -d").splitlines()
    assert whole[0] == "--------- beginning of system" and len(whole) == 3
    assert "I ActivityTaskManager: START u0 { act=android.intent.action.MAIN" in whole[1]
    assert whole[2].endswith("cmp=com.android.deskclock/.HomeActivity } from uid 2000")
    assert len(shell.out("logcat -d -v raw -t 1").splitlines()) == 2
    assert "I/ActivityTaskManager( 1000): START" in shell.out("logcat -d -v brief")
    assert shell.out("logcat -d -s Nothing") == shell.out("logcat -d '*:E'") == shell.out("logcat -d -b crash") == ""
    assert shell.out("logcat -d -s ActivityTaskManager:I") == "\n".join(whole) + "\n"
    assert shell.out("logcat -c") == "" and shell.out("logcat -d") == ""


@pytest.mark.parametrize("options", ["-v raw", "-v raw -T 0", "-v tag ActivityTaskManager:I '*:S'", "-b system,main"])
def test_logcat_follows_the_log_until_it_is_stopped(options: str) -> None:
    shell = AndroidShell()
    shell("am start com.sim.maps")
    begin, end = f"logcat {options} & sleep 0.1; am start com.sim.shop; sleep 0.3", "sleep 0.3; kill $!; wait"
    answer = shell(f"{begin}; logcat -c; am start com.sim.photos; {end}")
    started = re.findall(r"START u0 .*cmp=com\.sim\.(\w+)/", answer.out)
    assert started == ["maps", "shop", "photos"][1 if "-T 0" in options else 0 :]


def test_adb_logcat_follows_the_log(phones: tuple[SimulatedPhone, ...], server: ServerAddress) -> None:
    phone = phones[5]
    phone.shell("logcat -c")
    command = [adb_path(), "-L", f"tcp:localhost:{server.port}", "-s", phone.serial, "logcat", "-v", "raw"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for package in ("com.sim.shop", "com.sim.maps", "com.android.deskclock"):
            phone.shell(f"am start {package}")
            line = next(line for line in process.stdout if line.startswith("START"))
            assert f"cmp={package}/" in line
        process.terminate()


@pytest.mark.parametrize("line", ["-f x", "-d -b nowhere", "-d -v fancy", "-d -t many", "-d tag:Q"])
def test_unsupported_logcat_options_fail(line: str) -> None:
    answer = AndroidShell()(f"logcat {line}")
    assert answer.error.startswith("logcat: ") and answer.status == 1


def test_call_state_is_off_hook_during_a_call() -> None:
    shell = AndroidShell()

    def state() -> str:
        return re.search(r"mCallState=(\d)", shell.out("dumpsys telephony.registry"))[1]

    seen = [state()]
    for page, leave in (("call/Anna", "tap 56 182"), ("call/Bob", "keyevent BACK"), ("chat/Bob", "keyevent HOME")):
        shell.device.open(f"messages/{page}")
        seen.append(state())
        shell(f"input {leave}")
        seen.append(state())
    assert seen == ["0", "2", "0", "2", "0", "0", "0"]
