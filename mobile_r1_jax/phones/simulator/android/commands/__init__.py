"""Android's own commands of a simulated phone by name. The Unix commands are in `toybox`."""

from mobile_r1_jax.phones.simulator.android.commands import apps, dumps, simulator, system, touch
from mobile_r1_jax.phones.simulator.android.system import Command

COMMANDS: dict[str, Command] = {
    "am": apps.am,
    "cmd": simulator.cmd,
    "dumpsys": dumps.dumpsys,
    "getprop": system.getprop,
    "ime": system.ime,
    "input": touch.input_,
    "monkey": apps.monkey,
    "pm": apps.pm,
    "reboot": system.reboot,
    "screencap": touch.screencap,
    "settings": system.settings,
    "uiautomator": dumps.uiautomator,
    "wm": system.wm,
}
