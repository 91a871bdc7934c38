"""The commands of a simulated phone by name."""

from mobile_r1_jax.phones.simulator.android.commands import apps, dumps, keyboard, plain, simulator, system, touch
from mobile_r1_jax.phones.simulator.android.system import Command

COMMANDS: dict[str, Command] = {
    "am": apps.am,
    "cat": plain.cat,
    "cmd": simulator.cmd,
    "date": plain.date,
    "dumpsys": dumps.dumpsys,
    "echo": plain.echo,
    "false": plain.false,
    "getprop": system.getprop,
    "grep": plain.grep,
    "ime": keyboard.ime,
    "input": touch.input_,
    "locksettings": system.locksettings,
    "ls": plain.ls,
    "mkdir": plain.mkdir,
    "monkey": apps.monkey,
    "pm": apps.pm,
    "reboot": system.reboot,
    "rm": plain.rm,
    "screencap": touch.screencap,
    "settings": system.settings,
    "true": plain.true,
    "uiautomator": dumps.uiautomator,
    "whoami": plain.whoami,
    "wm": system.wm,
}
