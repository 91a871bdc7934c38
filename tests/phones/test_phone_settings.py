"""Android's settings and the Settings app of a simulated phone share one state."""

import pytest

from mobile_r1_jax.phones.simulator.android.commands import COMMANDS
from mobile_r1_jax.phones.simulator.android.settings_table import SWITCHES
from mobile_r1_jax.phones.simulator.android.shell import run
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.apps.settings.app import PAGES
from mobile_r1_jax.phones.simulator.apps.settings.app import SWITCHES as ROWS
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.phones.simulator.screen import Element

EVERY = [(namespace, key, switch) for namespace, table in SWITCHES.items() for key, switch in table.items()]


@pytest.fixture
def android() -> Android:
    return Android(Device(seed=3), "emulator-1", COMMANDS)


def output_of(android: Android, line: str) -> str:
    result = run(android, line)
    assert result.status == 0, result
    return result.output(1).decode()


def show(android: Android, name: str) -> None:
    """Open the page of the Settings app with the switch `name`."""
    output_of(android, "am start -n com.sim.settings/.HomeActivity")
    page = next((page for page, names in PAGES.items() if name in names), name)
    for _ in range(2):
        if page in {element.name for element in android.device.elements()}:
            break
        output_of(android, "input swipe 56 168 56 40")
    if page != name:
        tap(android, page)


def element_of(android: Android, name: str) -> Element:
    return next(element for element in android.device.elements() if element.name == name)


def tap(android: Android, name: str) -> None:
    x, y = element_of(android, name).center(android.device.size)
    output_of(android, f"input tap {x} {y}")


def test_every_switch_of_the_app_has_a_setting() -> None:
    shown = {*ROWS, *(name for names in PAGES.values() for name in names)}
    assert {switch.name for _, _, switch in EVERY} == shown and len(EVERY) == len(shown)


@pytest.mark.parametrize(("namespace", "key", "switch"), EVERY, ids=lambda value: getattr(value, "name", str(value)))
def test_setting_and_switch_share_one_state(android: Android, namespace: str, key: str, switch) -> None:
    show(android, switch.name)
    for value, shown in [*((value, "on") for value in switch.on), (switch.off, "off")]:
        output_of(android, f"settings put {namespace} {key} {value}")
        assert element_of(android, switch.name).value == shown
        assert output_of(android, f"settings get {namespace} {key}") == f"{value}\n"
        assert f"{key}={value}\n" in output_of(android, f"settings list {namespace}")
        assert android.device.state()["settings"]["on"][switch.name] is (shown == "on")
    tap(android, switch.name)
    assert output_of(android, f"settings get {namespace} {key}") == f"{switch.on[0]}\n"
    tap(android, switch.name)
    assert output_of(android, f"settings get {namespace} {key}") == f"{switch.off}\n"


def test_other_value_of_a_switch_setting_is_kept_and_shown_as_off(android: Android) -> None:
    output_of(android, "settings put global wifi_on 3")  # off because of airplane mode
    assert not android.device.switches["Wifi"] and output_of(android, "settings get global wifi_on") == "3\n"
    output_of(android, "settings put secure ui_night_mode 0")  # automatic
    assert not android.device.switches["Dark"] and output_of(android, "settings get secure ui_night_mode") == "0\n"


def test_deleted_switch_setting_is_off(android: Android) -> None:
    output_of(android, "settings put global wifi_on 1")
    assert output_of(android, "settings delete global wifi_on") == "Deleted 1 rows\n"
    assert not android.device.switches["Wifi"]


def test_task_setup_changes_the_settings_of_its_switches(android: Android) -> None:
    setup = {"template": "switch", "parameters": {"name": "Wifi", "value": "on"}, "seed": 0}
    output_of(android, "settings put global wifi_on 1; settings put system screen_brightness 7")
    android.device.reset(setup)
    assert output_of(android, "settings get global wifi_on") == "0\n"
    assert output_of(android, "settings get system screen_brightness") == "7\n"
    output_of(android, "settings put global wifi_on 1")
    assert android.device.progress()["done"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("settings get nosuch x", "Invalid namespace 'nosuch'"),
        ("settings nosuch global x", "Invalid command: nosuch"),
        ("settings get global", "Bad arguments"),
        ("settings put system x", "Bad arguments"),
        ("settings get global x y", "Too many arguments"),
        ("settings list global x", "Too many arguments"),
    ],
)
def test_wrong_settings_commands_fail_with_the_messages_of_android(android: Android, line: str, reason: str) -> None:
    result = run(android, line)
    assert (result.status, result.output(1), result.output(2).decode()) == (255, b"", f"{reason}\n")
