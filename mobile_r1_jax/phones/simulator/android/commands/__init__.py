"""The commands of a simulated phone by name: Android's own ones, and those that may wait."""

from mobile_r1_jax.phones.simulator.android.commands import (
    activities,
    apps,
    content,
    dumps,
    hierarchy,
    keyboard,
    packages,
    screencap,
    services,
    system,
    touch,
    volume,
    windows,
)
from mobile_r1_jax.phones.simulator.android.commands.logcat import logcat
from mobile_r1_jax.phones.simulator.android.commands.toybox import TOYBOX
from mobile_r1_jax.phones.simulator.android.system import Command, Tool

COMMANDS: dict[str, Command] = {
    "am": apps.am,
    "cmd": services.cmd,
    "content": content.content,
    "dumpsys": dumps.dumpsys,
    "getprop": system.getprop,
    "ime": keyboard.ime,
    "input": touch.input_,
    "locksettings": system.locksettings,
    "media": volume.media,
    "monkey": activities.monkey,
    "pm": packages.pm,
    "reboot": system.reboot,
    "screencap": screencap.screencap,
    "settings": system.settings,
    "svc": services.svc,
    "uiautomator": hierarchy.uiautomator,
    "wm": windows.wm,
}

TOOLS: dict[str, Tool] = TOYBOX | {"logcat": logcat}
