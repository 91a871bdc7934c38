"""Android's own commands of a simulated phone by name. The Unix commands are in `toybox`."""

from mobile_r1_jax.phones.simulator.android.commands import (
    activities,
    apps,
    content,
    dumps,
    hierarchy,
    keyboard,
    logcat,
    packages,
    screencap,
    services,
    system,
    touch,
    windows,
)
from mobile_r1_jax.phones.simulator.android.system import Command

COMMANDS: dict[str, Command] = {
    "am": apps.am,
    "cmd": services.cmd,
    "content": content.content,
    "dumpsys": dumps.dumpsys,
    "getprop": system.getprop,
    "ime": keyboard.ime,
    "input": touch.input_,
    "locksettings": system.locksettings,
    "logcat": logcat.logcat,
    "monkey": activities.monkey,
    "pm": packages.pm,
    "reboot": system.reboot,
    "screencap": screencap.screencap,
    "settings": system.settings,
    "svc": services.svc,
    "uiautomator": hierarchy.uiautomator,
    "wm": windows.wm,
}
