"""Commands for the system: settings, locksettings, getprop, ime, wm, reboot."""

from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import ADB_KEYBOARD, STOCK_KEYBOARD, Android, properties


def settings(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`settings [--user N] get|put|delete|list NAMESPACE [NAME [VALUE]]`."""
    if arguments[:1] == ["--user"]:
        arguments = arguments[2:]
    verb, namespace, *rest = [*arguments, "", ""][: max(len(arguments), 2)]
    table = android.settings.get(namespace)
    if table is None:
        return failed(f"Invalid namespace '{namespace}'", 255)
    if verb == "list":
        return printed("".join(f"{name}={value}\n" for name, value in sorted(table.items())))
    if verb == "get" and len(rest) == 1:
        return printed(table.get(rest[0], "null") + "\n")
    if verb == "put" and len(rest) >= 2:
        table[rest[0]] = rest[1]
        return Result()
    if verb == "delete" and len(rest) == 1:
        return printed(f"Deleted {int(table.pop(rest[0], None) is not None)} rows\n")
    return failed("Bad arguments", 255)


def getprop(android: Android, arguments: list[str], stdin: bytes) -> Result:
    values = properties(android.version, android.serial)
    if not arguments:
        return printed("".join(f"[{name}]: [{value}]\n" for name, value in sorted(values.items())))
    return printed(values.get(arguments[0], arguments[1] if len(arguments) > 1 else "") + "\n")


def ime(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`ime list [-s] [-a]`, `ime enable ID`, `ime set ID`."""
    secure = android.settings["secure"]
    enabled = secure["enabled_input_methods"].split(":")
    if arguments[:1] == ["list"]:
        names = [ADB_KEYBOARD, STOCK_KEYBOARD] if "-a" in arguments else enabled
        form = "{}\n" if "-s" in arguments else "mId={}\n"
        return printed("".join(form.format(name) for name in names))
    verb, name = (arguments[0], arguments[1]) if len(arguments) == 2 else ("", "")
    if verb not in ("enable", "set"):
        return failed(f"Unknown command: {' '.join(arguments)}", 255)
    if name not in (ADB_KEYBOARD, STOCK_KEYBOARD):
        return failed(
            f"Unknown input method {name} cannot be {'enabled' if verb == 'enable' else 'selected'} for user #0", 255
        )
    if verb == "enable":
        secure["enabled_input_methods"] = ":".join(dict.fromkeys([*enabled, name]))
        return printed(f"Input method {name}: now enabled for user #0\n")
    if name not in enabled:
        return failed(f"Unknown input method {name} cannot be selected for user #0", 255)
    secure["default_input_method"] = name
    return printed(f"Input method {name} selected for user #0\n")


def wm(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`wm size`, `wm density` and `wm dismiss-keyguard`. The size of a simulated screen never changes."""
    width, height = android.device.size
    if arguments == ["size"]:
        return printed(f"Physical size: {width}x{height}\n")
    if arguments == ["density"]:
        return printed(f"Physical density: {max(120, width * 160 // 360)}\n")  # 360 dp wide, like most phones
    if arguments == ["dismiss-keyguard"]:
        android.device.unlock()
        return Result()
    return failed(f"Error: not supported: wm {' '.join(arguments)}", 255)


def reboot(android: Android, arguments: list[str], stdin: bytes) -> Result:
    android.reboot()
    return Result()


def locksettings(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`locksettings get-disabled` and `set-disabled true|false`: whether there is no lock screen to swipe away."""
    if arguments == ["get-disabled"]:
        return printed(f"{str(not android.device.lock_screen).lower()}\n")
    if arguments in (["set-disabled", "true"], ["set-disabled", "false"]):
        android.device.lock_screen = arguments[1] == "false"
        return printed(f"Lock screen disabled set to {arguments[1]}\n")
    return failed(f"Unknown command: {' '.join(arguments)}", 255)
