"""Android's own commands of a simulated phone by name. logcat, which waits, and the Unix commands are in `toybox`."""

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
