"""The simulated phone as a device: apps, focus, tasks and state."""

import json

import pytest

from mobile_r1_jax.phones.simulator.device import Device

SETUP = {"template": "open_app", "parameters": {"app": "Shop"}, "seed": 0}


def test_at_least_five_apps_launch_by_their_package() -> None:
    device = Device()
    assert {"Launcher", "Settings", "Shop", "Messages", "Clock"} <= set(device.packages.values())
    for package in device.packages:
        assert device.launch(package) and device.focus == (package, ".HomeActivity")
    assert not device.launch("com.sim.nosuch")


def test_state_of_the_phone_decides_if_a_task_is_done() -> None:
    device = Device()
    device.reset(SETUP)
    assert not device.progress()["done"]
    device.launch("com.sim.music")
    assert not device.progress()["done"]
    device.launch("com.sim.shop")
    assert device.progress() == {"done": True, "remaining": 1, "shortest": 2, "milestones": [1, 1]}


def test_progress_without_a_task_is_an_error_with_the_remedy() -> None:
    with pytest.raises(ValueError, match="reset the phone with one first"):
        Device().progress()


def test_wrong_setup_leaves_the_phone_unchanged() -> None:
    device = Device()
    device.reset(SETUP)
    device.launch("com.sim.shop")
    with pytest.raises(ValueError, match="nosuch"):
        device.reset({"template": "nosuch", "parameters": {}, "seed": 0})
    assert device.focus[0] == "com.sim.shop" and device.progress()["done"]


def test_state_is_a_json_copy() -> None:
    device = Device()
    state = device.state()
    assert json.loads(json.dumps(state)) == state
    state["shop"]["cart"].clear()
    assert device.state()["shop"]["cart"]


def test_gestures_outside_any_element_do_nothing() -> None:
    device = Device()
    device.tap(111, 223)
    device.long_press(0, 27)
    device.swipe(0, 0, 111, 223)
    assert device.focus[0] == "com.sim.launcher"
