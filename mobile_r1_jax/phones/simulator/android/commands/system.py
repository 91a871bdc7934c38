"""Commands for the system: settings, locksettings, getprop, reboot."""

from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android, properties

_OPERANDS = {"delete": (1, 1), "get": (1, 1), "list": (0, 0), "put": (2, 4)}  # put NAME VALUE [TAG] [default]


def settings(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`settings [--user N] get|put|delete NAMESPACE NAME [VALUE]`, `settings list NAMESPACE`."""
    if arguments[:1] == ["--user"]:
        arguments = arguments[2:]
    verb, namespace, *rest = [*arguments, "", ""][: max(len(arguments), 2)]
    if verb not in _OPERANDS:
        return failed(f"Invalid command: {verb}", 255)
    if namespace not in android.settings:
        return failed(f"Invalid namespace '{namespace}'", 255)
    fewest, most = _OPERANDS[verb]
    if not fewest <= len(rest) <= most:
        return failed("Bad arguments" if len(rest) < fewest else "Too many arguments", 255)
    table = android.settings[namespace]
    if verb == "list":
        return printed("".join(f"{name}={value}\n" for name, value in sorted(table.items())))
    if verb == "get":
        return printed(table.get(rest[0], "null") + "\n")
    if verb == "put":
        table[rest[0]] = rest[1]
        return Result()
    return printed(f"Deleted {int(table.pop(rest[0], None) is not None)} rows\n")


def getprop(android: Android, arguments: list[str], stdin: bytes) -> Result:
    values = properties(android.version, android.serial)
    if not arguments:
        return printed("".join(f"[{name}]: [{value}]\n" for name, value in sorted(values.items())))
    return printed(values.get(arguments[0], arguments[1] if len(arguments) > 1 else "") + "\n")


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
