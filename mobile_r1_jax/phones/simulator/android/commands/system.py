"""Commands for the system: settings, getprop, ime, reboot."""

from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android, properties


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
        names = android.keyboards if "-a" in arguments else enabled
        form = "{}\n" if "-s" in arguments else "mId={}\n"
        return printed("".join(form.format(name) for name in names))
    verb, name = (arguments[0], arguments[1]) if len(arguments) == 2 else ("", "")
    if verb not in ("enable", "set"):
        return failed(f"Unknown command: {' '.join(arguments)}", 255)
    if name not in android.keyboards:
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


def reboot(android: Android, arguments: list[str], stdin: bytes) -> Result:
    android.reboot()
    return Result()
